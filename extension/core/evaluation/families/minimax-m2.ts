import { eitherWay, expertCounts, numbered, type ExpertFamily } from './experts';
import { everyLayer, noBiases, type Family } from './family';

const experts: ExpertFamily = {
  read: (config, layers) => ({
    experts: {
      ...expertCounts(config, {
        count: ['num_local_experts', 'num_experts'],
        topK: 'num_experts_per_tok',
        defaults: [256, 8],
      }),
      intermediate: config.count('intermediate_size', 1536),
      score: 'sigmoid',
      correctionBias: true,
      renormalise: true,
    },
    routed: Array.from({ length: layers }, () => true),
    widths: everyLayer(0, layers),
  }),
  layouts: [
    {
      router: 'block_sparse_moe.gate',
      correction: 'block_sparse_moe.e_score_correction_bias',
      matrices: numbered('block_sparse_moe.experts'),
    },
    ...eitherWay({ router: 'mlp.gate', correction: 'mlp.e_score_correction_bias' }, 'mlp.experts', numbered),
  ],
};

/** MiniMax M2: Mixtral with DeepSeek's router, norms of all heads together, and a part of each head rotated. */
export const minimaxM2: Family = {
  type: 'minimax_m2',
  keys: ['num_local_experts', 'num_experts', 'num_experts_per_tok', 'rotary_dim'],
  // Published configurations say how many dimensions are rotated, not which share.
  defaults: config =>
    config.has('rotary_dim')
      ? { partial_rotary_factor: config.count('rotary_dim') / config.count('head_dim', 128) }
      : {},
  headDim: 128,
  kvHeadsDefault: 'never',
  qkNorm: true,
  ropeTheta: 5_000_000,
  rotatedShare: 1,
  experts,
  parts: () => ({ headNorm: 'together' }),
  biases: () => noBiases,
  windows: (_, layers) => everyLayer(0, layers),
};
