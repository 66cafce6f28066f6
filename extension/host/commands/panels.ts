import type { Studio } from '../studio';
import { modelFor, type Argument } from './subject';

/** Commands that show a panel of a checkpoint. */
export function panelCommands(studio: Studio) {
  const show = (to: 'heatmap' | 'allocation' | 'perplexity' | 'methods') => async (argument: Argument) => {
    const model = await modelFor(studio, argument, `Checkpoint whose ${to} to show`);
    if (model) await studio.navigate({ to, model: model.path });
  };
  return {
    showHeatmap: show('heatmap'),
    showAllocation: show('allocation'),
    showPerplexity: show('perplexity'),
    compareMethods: show('methods'),
  };
}
