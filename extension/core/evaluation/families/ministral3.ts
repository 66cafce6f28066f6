import { everyLayer, type Family } from './family';
import { mistral } from './mistral';

/** What there is where the configuration has no rotary embedding. */
const YARN = {
  type: 'yarn',
  rope_theta: 1_000_000,
  factor: 16,
  original_max_position_embeddings: 16384,
  beta_fast: 32,
  beta_slow: 1,
  mscale_all_dim: 1,
  mscale: 1,
  llama_4_scaling_beta: 0.1,
};

/** Ministral 3: Mistral whose queries grow with their position, from the length before its rotary scaling on. */
export const ministral3: Family = {
  ...mistral,
  type: 'ministral3',
  keys: ['sliding_window'],
  defaults: config => (config.object('rope_scaling')?.names.length ? {} : { rope_parameters: YARN }),
  kvHeadsDefault: 'null',
  headDim: 128,
  epsilon: ['rms_norm_eps', 1e-5],
  growingQueries: true,
  parts(config) {
    const rope = config.object('rope_scaling') ?? config.object('rope_parameters');
    if (rope?.has('llama_4_scaling_beta') !== true) return config.refuse('config.json has no llama_4_scaling_beta');
    const length = rope.count('original_max_position_embeddings');
    return { queryGrowth: { rate: rope.number('llama_4_scaling_beta'), length, offset: 0, unrotated: false } };
  },
  windows: (config, layers) => everyLayer(config.number('sliding_window', 0), layers),
};
