import { eitherWay, expertCounts, numbered, type ExpertFamily } from './experts';
import { everyLayer, noBiases, type Family } from './family';

const experts: ExpertFamily = {
  read: (config, layers) => ({
    experts: {
      ...expertCounts(config, {
        count: ['num_local_experts', 'num_experts'],
        topK: 'num_experts_per_tok',
        defaults: [8, 2],
      }),
      intermediate: config.count('intermediate_size', 14336),
      score: 'softmax',
      renormalise: true,
    },
    routed: Array.from({ length: layers }, () => true),
    widths: everyLayer(0, layers),
  }),
  layouts: [
    { router: 'block_sparse_moe.gate', matrices: numbered('block_sparse_moe.experts') },
    ...eitherWay({ router: 'mlp.gate' }, 'mlp.experts', numbered),
  ],
};

/** Mixtral: Mistral with experts in every layer, the weights of the chosen ones adding up to 1. */
export const mixtral: Family = {
  type: 'mixtral',
  keys: ['sliding_window', 'num_local_experts', 'num_experts', 'num_experts_per_tok'],
  kvHeadsDefault: 'null',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  ropeTheta: 1_000_000,
  experts,
  biases: () => noBiases,
  windows: (config, layers) => everyLayer(config.number('sliding_window', 0), layers),
};
