import { windowsByPattern, type Family } from './family';
import { olmo2 } from './olmo2';

/** OLMo 3: OLMo 2 with a window in three of four layers, whose rotation is never scaled. */
export const olmo3: Family = {
  ...olmo2,
  type: 'olmo3',
  keys: [...olmo2.keys, 'sliding_window', 'layer_types'],
  ropeTheta: { full: 500_000, sliding: 500_000 },
  windows: (config, layers) => windowsByPattern(config, layers, config.number('sliding_window', 4096), 4),
};
