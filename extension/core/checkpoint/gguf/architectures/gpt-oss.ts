import type { Architecture } from './architecture';

/** Attention sinks, a window in every other layer, clamped and biased experts. */
export const gptOss: Architecture = {
  models: ['gpt_oss'],
  name: 'gpt-oss',
  modules: { post_attention_norm: 'post_attention_norm' },
  computes: { sinks: true },
  biases: ['attention', 'output'],
  windowPeriod: 2,
  experts: {
    computes: { score: 'softmax_of_chosen', routerBias: true, bias: true, clampLimit: 7, clampAlpha: 1.702 },
    width: 'expert_feed_forward_length',
  },
};
