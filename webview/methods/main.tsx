import { start } from '../shared/Panel';
import '../styles/panel.css';
import './methods.css';
import { MethodsPanel } from './MethodsPanel';

start(<MethodsPanel />);
