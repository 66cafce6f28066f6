import type { Architecture } from './architecture';

/** Learned positions, nothing is turned. */
export const gpt2: Architecture = {
  models: ['gpt2'],
  name: 'gpt2',
  computes: ({ maxPositions }) => ({
    norm: 'layer',
    plainMlp: true,
    fusedQkv: 'stacked',
    embedding: { positions: maxPositions },
  }),
  activations: ['gelu_tanh', 'gelu'],
  biases: ['attention', 'output', 'mlp'],
  rotary: () => 'none',
};
