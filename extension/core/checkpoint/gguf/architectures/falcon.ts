import type { Architecture } from './architecture';

/** Falcon with one key-value head, as 7B has; groups of them are stored in another order of rows. */
export const falcon: Architecture = {
  models: ['falcon'],
  name: 'falcon',
  computes: ({ kvHeads }) => ({
    norm: 'layer',
    plainMlp: true,
    parallel: true,
    sharedNorm: true,
    ...(kvHeads === 1 && { fusedQkv: 'grouped' }),
  }),
  activations: ['gelu', 'gelu_tanh'],
};
