import type { Architecture } from './architecture';

/** Llama, Mistral, and Mixtral's experts. */
export const llama: Architecture = {
  models: ['llama', 'mistral', 'ministral', 'mixtral'],
  name: 'llama',
  paired: true,
  biases: ['attention', 'output', 'mlp'],
  divisors: 'llama3',
  experts: { computes: { score: 'softmax', renormalise: true }, width: 'feed_forward_length' },
};
