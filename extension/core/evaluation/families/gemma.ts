import type { ConfigReader } from '../config-reader';
import { everyLayer, type Family } from './family';

/** What all of Gemma shares: norm weights count from one, and embeddings are scaled by the root of their width. */
export const gemmaStream = (config: ConfigReader): { normOffset: number; embeddingScale: number } => ({
  normOffset: 1,
  embeddingScale: Math.fround(Math.sqrt(config.count('hidden_size'))),
});

export const gemmaBiases: Family['biases'] = config => {
  const attention = config.flag('attention_bias');
  return { attentionBias: attention, outputBias: attention, mlpBias: false };
};

/** Attention in both directions is another network. */
export function refuseBothDirections(config: ConfigReader): void {
  if (config.flag('use_bidirectional_attention'))
    config.refuse('Attention in both directions (use_bidirectional_attention) is not supported');
}

/** Gemma 1. */
export const gemma: Family = {
  type: 'gemma',
  keys: ['hidden_activation', 'attention_bias', 'use_bidirectional_attention'],
  kvHeadsDefault: 'never',
  headDim: 256,
  qkNorm: false,
  activation: ['hidden_act', 'gelu_pytorch_tanh'],
  tied: true,
  parts(config) {
    refuseBothDirections(config);
    return gemmaStream(config);
  },
  biases: gemmaBiases,
  windows: (_, layers) => everyLayer(0, layers),
};
