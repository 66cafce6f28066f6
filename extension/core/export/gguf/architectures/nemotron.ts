import type { Architecture } from './architecture';

/** Norms are stored with the one they count from. */
export const nemotron: Architecture = {
  models: ['nemotron'],
  name: 'nemotron',
  computes: { norm: 'layer', normOffset: 1, plainMlp: true },
  activations: ['relu_squared'],
  biases: ['attention', 'output', 'mlp'],
};
