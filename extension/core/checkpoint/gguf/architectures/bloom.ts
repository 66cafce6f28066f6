import { alibiSlopes } from '../../../evaluation/families/alibi';
import type { Architecture } from './architecture';

/** Biases by distance in place of positions, embeddings normalised. */
export const bloom: Architecture = {
  models: ['bloom'],
  name: 'bloom',
  modules: { embedding_norm: 'token_embd_norm' },
  computes: ({ heads }) => ({
    norm: 'layer',
    plainMlp: true,
    fusedQkv: 'grouped',
    embedding: { norm: true },
    alibi: alibiSlopes(heads),
  }),
  stacks: true,
  activations: ['gelu_tanh', 'gelu'],
  biases: ['attention', 'output', 'mlp'],
  rotary: () => 'none',
  usualContext: 2048,
};
