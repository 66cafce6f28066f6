import type { Architecture } from './architecture';

export const starcoder2: Architecture = {
  models: ['starcoder2'],
  name: 'starcoder2',
  computes: { norm: 'layer', plainMlp: true },
  activations: ['gelu_tanh', 'gelu'],
  biases: ['attention', 'output', 'mlp'],
};
