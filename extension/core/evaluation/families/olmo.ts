import { everyLayer, type Family } from './family';

/** OLMo 1: layer norms without a weight. */
export const olmo: Family = {
  type: 'olmo',
  keys: ['attention_bias', 'clip_qkv'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-5],
  parts: config => ({
    norm: 'layer',
    normBare: true,
    ...(config.has('clip_qkv') && { attentionClamp: config.number('clip_qkv') }),
  }),
  biases(config) {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
