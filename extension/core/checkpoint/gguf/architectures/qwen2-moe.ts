import type { Architecture } from './architecture';

/** Experts' weights are not divided by their sum; one expert behind a gate is every token's. */
export const qwen2Moe: Architecture = {
  models: ['qwen2_moe'],
  name: 'qwen2moe',
  biases: ['attention'],
  experts: {
    computes: { score: 'softmax', renormalise: false, sharedGate: true },
    width: 'expert_feed_forward_length',
    shared: 'expert_shared_feed_forward_length',
  },
};
