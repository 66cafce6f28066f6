import { everyLayer, noBiases, windowsByType, type Family } from './family';

/** Where config.json does not name `sliding_window`; null there means none. */
const DEFAULT_WINDOW = 4096;

/** Mistral: a window in every layer, or with `layer_types` (transformers then reads it as Ministral) in the layers they name. */
export const mistral: Family = {
  type: 'mistral',
  keys: ['sliding_window', 'layer_types'],
  kvHeadsDefault: 'never',
  qkNorm: false,
  biases: () => noBiases,
  windows(config, layers) {
    const window = config.stated('sliding_window') ? config.number('sliding_window', 0) : DEFAULT_WINDOW;
    return windowsByType(config, layers, window) ?? everyLayer(window, layers);
  },
};
