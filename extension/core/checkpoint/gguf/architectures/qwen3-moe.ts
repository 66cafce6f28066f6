import type { Architecture } from './architecture';

export const qwen3Moe: Architecture = {
  models: ['qwen3_moe'],
  name: 'qwen3moe',
  computes: { qkNorm: true },
  biases: ['attention'],
  experts: { computes: { score: 'softmax', renormalise: true }, width: 'expert_feed_forward_length' },
};
