import { start } from '../shared/Panel';
import '../styles/panel.css';
import './heatmap.css';
import { HeatmapPanel } from './HeatmapPanel';

start(<HeatmapPanel />);
