import { eitherWay, expertCounts, type ExpertFamily } from './experts';
import { everyLayer, type Family } from './family';

const experts: ExpertFamily = {
  read: (config, layers) => ({
    experts: {
      ...expertCounts(config, {
        count: ['num_experts', 'num_local_experts'],
        topK: 'num_experts_per_tok',
        defaults: [64, 8],
      }),
      intermediate: config.count('intermediate_size', 2048),
      score: 'softmax',
      renormalise: config.flag('norm_topk_prob'),
    },
    routed: Array.from({ length: layers }, () => true),
    widths: everyLayer(0, layers),
  }),
  layouts: eitherWay({ router: 'mlp.gate' }, 'mlp.experts'),
};

/** OLMoE: norms before both halves, and of queries and keys over all heads together; experts in every layer. */
export const olmoe: Family = {
  type: 'olmoe',
  keys: ['attention_bias', 'clip_qkv', 'num_experts', 'num_local_experts', 'num_experts_per_tok', 'norm_topk_prob'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: true,
  epsilon: ['rms_norm_eps', 1e-5],
  experts,
  parts(config) {
    if (config.has('clip_qkv')) config.refuse('Clipping of queries, keys and values (clip_qkv) is not supported');
    return { headNorm: 'together' };
  },
  biases: config => {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
