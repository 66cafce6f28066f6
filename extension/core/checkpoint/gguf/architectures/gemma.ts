import type { NativeLanguageModelConfig } from '../../../native';
import type { Architecture } from './architecture';

/** Embeddings are scaled by the root of their width. */
export const gemmaStream = ({ hidden }: NativeLanguageModelConfig): Partial<NativeLanguageModelConfig> => ({
  embeddingScale: Math.fround(Math.sqrt(hidden)),
});

export const gemma: Architecture = {
  models: ['gemma'],
  name: 'gemma',
  computes: gemmaStream,
  normOffset: 1,
  activations: ['gelu_tanh', 'gelu'],
  tied: true,
};
