import { start } from '../shared/Panel';
import '../styles/panel.css';
import './compress.css';
import { CompressPanel } from './CompressPanel';

start(<CompressPanel />);
