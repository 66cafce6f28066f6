import { start } from '../shared/Panel';
import '../styles/panel.css';
import '../styles/grid.css';
import './perplexity.css';
import { PerplexityPanel } from './PerplexityPanel';

start(<PerplexityPanel />);
