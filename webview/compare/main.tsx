import { start } from '../shared/Panel';
import '../styles/panel.css';
import './compare.css';
import { ComparePanel } from './ComparePanel';

start(<ComparePanel />);
