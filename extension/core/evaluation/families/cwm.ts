import { noBiases, windowsByType, type Family } from './family';

/** What there is where the configuration has no rotary embedding. */
const LLAMA3 = {
  rope_type: 'llama3',
  rope_theta: 1_000_000,
  factor: 16,
  high_freq_factor: 4,
  low_freq_factor: 1,
  original_max_position_embeddings: 8192,
};

/** Code World Model: Llama 3 with windows in all layers but the first of every four. */
export const cwm: Family = {
  type: 'cwm',
  keys: ['mlp_bias', 'sliding_window', 'layer_types'],
  defaults: config => ({
    ...(!config.stated('head_dim') && { head_dim: 128 }),
    ...(!config.has('rope_scaling') && { rope_parameters: LLAMA3 }),
  }),
  kvHeadsDefault: 'null',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  ropeTheta: 1_000_000,
  biases: config => ({ ...noBiases, mlpBias: config.flag('mlp_bias') }),
  windows(config, layers) {
    const window = config.stated('sliding_window') ? config.number('sliding_window', 0) : 8192;
    return (
      windowsByType(config, layers, window) ?? Array.from({ length: layers }, (_, i) => (i % 4 === 0 ? 0 : window))
    );
  },
};
