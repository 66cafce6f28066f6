import type { NativeLanguageModelConfig } from '../../../native';
import type { Architecture } from './architecture';

/** Embeddings are scaled by the root of their width; norms are stored with the one they count from. */
export const gemmaStream = ({ hidden }: NativeLanguageModelConfig): Partial<NativeLanguageModelConfig> => ({
  embeddingScale: Math.fround(Math.sqrt(hidden)),
  normOffset: 1,
});

export const gemma: Architecture = {
  models: ['gemma'],
  name: 'gemma',
  computes: gemmaStream,
  activations: ['gelu_tanh', 'gelu'],
  tied: true,
};
