import type { Architecture } from './architecture';

export const jais2: Architecture = {
  models: ['jais2'],
  name: 'jais2',
  computes: { norm: 'layer', plainMlp: true },
  activations: ['relu_squared'],
  biases: ['attention', 'output', 'mlp'],
};
