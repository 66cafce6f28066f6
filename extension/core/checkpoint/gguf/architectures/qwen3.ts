import type { Architecture } from './architecture';

export const qwen3: Architecture = {
  models: ['qwen3'],
  name: 'qwen3',
  computes: { qkNorm: true },
  biases: ['attention'],
};
