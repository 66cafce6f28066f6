import { everyLayer, type Family } from './family';

/** Cohere's Command R: attention and MLP side by side behind one norm without a bias, neighbouring dimensions rotated. */
export const cohere: Family = {
  type: 'cohere',
  keys: ['layer_norm_eps', 'logit_scale', 'attention_bias', 'use_qk_norm'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-5],
  tied: true,
  ropeTheta: 500_000,
  parts: config => ({
    norm: 'layer',
    normUnbiased: true,
    parallel: true,
    sharedNorm: true,
    rotaryInterleaved: true,
    logitScale: config.number('logit_scale', 0.0625),
    ...(config.flag('use_qk_norm') && { qkNorm: true, headNorm: 'layer_own' }),
  }),
  biases(config) {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
