import { start } from '../shared/Panel';
import '../styles/panel.css';
import '../styles/grid.css';
import './compress.css';
import { CompressPanel } from './CompressPanel';

start(<CompressPanel />);
