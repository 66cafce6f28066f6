import { type Architecture } from './architecture';

export const stablelm: Architecture = {
  models: ['stablelm'],
  name: 'stablelm',
  computes: ({ parallel }) => ({ norm: 'layer', ...(parallel === true && { sharedNorm: true }) }),
  states: { parallel: { key: 'use_parallel_residual', as: 'flag' } },
  biases: ['attention'],
};
