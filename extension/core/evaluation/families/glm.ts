import { everyLayer, type Family } from './family';

/** GLM-4 of 2024: neighbouring dimensions of half of each head rotated, gate and up in one matrix. */
export const glm: Family = {
  type: 'glm',
  keys: ['attention_bias'],
  kvHeadsDefault: 'never',
  headDim: 128,
  qkNorm: false,
  epsilon: ['rms_norm_eps', 0.00000015625],
  rotatedShare: 0.5,
  parts: () => ({ rotaryInterleaved: true, fusedGateUp: 'stacked' }),
  biases: config => ({
    attentionBias: config.has('attention_bias') ? config.flag('attention_bias') : true,
    outputBias: false,
    mlpBias: false,
  }),
  windows: (_, layers) => everyLayer(0, layers),
};
