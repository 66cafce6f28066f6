import { expertCounts, together, type ExpertFamily } from './experts';
import { everyLayer, type Family } from './family';
import { granite } from './granite';

export const graniteExperts: ExpertFamily = {
  read: (config, layers) => ({
    experts: {
      ...expertCounts(config, { count: ['num_local_experts'], topK: 'num_experts_per_tok', defaults: [8, 2] }),
      intermediate: config.count('intermediate_size', 11008),
      score: 'softmax_of_chosen',
    },
    routed: Array.from({ length: layers }, () => true),
    widths: everyLayer(0, layers),
  }),
  layouts: [
    {
      router: 'block_sparse_moe.router.layer',
      matrices: {
        kind: 'together',
        gateUp: 'block_sparse_moe.input_linear.weight',
        down: 'block_sparse_moe.output_linear.weight',
        order: 'stacked',
        transposed: false,
      },
    },
    { router: 'block_sparse_moe.router', matrices: together('block_sparse_moe.experts') },
  ],
};

/** Granite 3 with experts in every layer, the likeliest chosen and weighed by their softmax. */
export const graniteMoe: Family = {
  ...granite,
  type: 'granitemoe',
  keys: [...granite.keys.filter(key => key !== 'mlp_bias'), 'num_local_experts', 'num_experts_per_tok'],
  experts: graniteExperts,
  biases(config) {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
};
