import { type Architecture } from './architecture';

export const stablelm: Architecture = {
  models: ['stablelm'],
  name: 'stablelm',
  computes: ({ parallel }) => ({ norm: 'layer', ...(parallel === true && { parallel: true, sharedNorm: true }) }),
  keys: ({ parallel }) => [['use_parallel_residual', { type: 'bool', value: parallel === true }]],
  biases: ['attention'],
};
