import type { Architecture } from './architecture';

export const arcee: Architecture = {
  models: ['arcee'],
  name: 'arcee',
  paired: true,
  computes: { plainMlp: true },
  activations: ['relu_squared'],
  divisors: 'llama3',
};
