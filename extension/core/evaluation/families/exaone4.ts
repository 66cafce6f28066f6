import type { ConfigReader } from '../config-reader';
import { noBiases, windowsByType, type Family } from './family';
import { olmo2 } from './olmo2';

/** Null: no layer has a window. */
const windowSize = (config: ConfigReader): number =>
  config.stated('sliding_window') ? config.number('sliding_window', 0) : 4096;

function windows(config: ConfigReader, layers: number): number[] {
  const size = windowSize(config);
  const named = windowsByType(config, layers, size);
  if (named !== undefined) return named;
  if (size === 0) config.refuse('config.json has neither sliding_window nor layer_types');
  const every = config.count('sliding_window_pattern', 4);
  return Array.from({ length: layers }, (_, layer) => ((layer + 1) % every === 0 ? 0 : size));
}

/** EXAONE 4: norms after the halves and of each head; where there are windows, layers without one do not rotate. */
export const exaone4: Family = {
  type: 'exaone4',
  keys: ['sliding_window', 'sliding_window_pattern', 'layer_types'],
  kvHeadsDefault: 'never',
  qkNorm: true,
  epsilon: ['rms_norm_eps', 1e-5],
  ...(olmo2.modules !== undefined && { modules: olmo2.modules }),
  rotary: (config, layers) =>
    windows(config, layers).map(window => (window > 0 || windowSize(config) === 0 ? 'standard' : 'none')),
  parts: () => ({ normPlaces: 'after' }),
  biases: () => noBiases,
  windows,
};
