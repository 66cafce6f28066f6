import { start } from '../shared/Panel';
import '../styles/panel.css';
import '../styles/grid.css';
import './heatmap.css';
import { HeatmapPanel } from './HeatmapPanel';

start(<HeatmapPanel />);
