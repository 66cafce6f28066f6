import type { Architecture } from './architecture';

export const nemotron: Architecture = {
  models: ['nemotron'],
  name: 'nemotron',
  computes: { norm: 'layer', plainMlp: true },
  normOffset: 1,
  activations: ['relu_squared'],
  biases: ['attention', 'output', 'mlp'],
};
