import { start } from '../shared/Panel';
import '../styles/panel.css';
import '../styles/grid.css';
import './compare.css';
import { ComparePanel } from './ComparePanel';

start(<ComparePanel />);
