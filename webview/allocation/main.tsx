import { start } from '../shared/Panel';
import '../styles/panel.css';
import './allocation.css';
import { AllocationPanel } from './AllocationPanel';

start(<AllocationPanel />);
