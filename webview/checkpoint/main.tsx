import { start } from '../shared/Panel';
import '../styles/panel.css';
import './checkpoint.css';
import { CheckpointPanel } from './CheckpointPanel';

start(<CheckpointPanel />);
