import { u32, type Architecture } from './architecture';

/** Of expert_gating_func. */
const SIGMOID = 2;

/** A sigmoid router, whose biases choose and do not weigh (DeepSeek-V3's, in one group), behind dense layers. */
export const sigmoidExperts: NonNullable<Architecture['experts']> = {
  computes: { score: 'sigmoid', correctionBias: true },
  width: 'expert_feed_forward_length',
  shared: 'expert_shared_count',
  dense: 'leading_dense_block_count',
  states: {
    renormalise: { key: 'expert_weights_norm', as: 'flag' },
    scale: { key: 'expert_weights_scale', as: 'number' },
  },
  keys: [['expert_gating_func', u32(SIGMOID)]],
};

/** GLM-4.5 and 4.6, and Solar Open; the largest has norms of queries and keys. */
export const glm4Moe: Architecture = {
  models: ['glm4_moe', 'solar_open'],
  name: 'glm4moe',
  modules: { post_attention_norm: 'post_attention_norm' },
  tensors: { qkNorm: 'attn_q_norm' },
  biases: ['attention'],
  experts: sigmoidExperts,
};
