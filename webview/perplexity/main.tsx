import { start } from '../shared/Panel';
import '../styles/panel.css';
import './perplexity.css';
import { PerplexityPanel } from './PerplexityPanel';

start(<PerplexityPanel />);
