import type { Architecture } from './architecture';

/** Phi 1 and 2. */
export const phi2: Architecture = {
  models: ['phi'],
  name: 'phi2',
  computes: { norm: 'layer', plainMlp: true, parallel: true, sharedNorm: true, headBias: true },
  activations: ['gelu_tanh', 'gelu'],
  biases: ['attention', 'output', 'mlp'],
};
