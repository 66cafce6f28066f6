import { everyLayer, type Family } from './family';

/** ERNIE 4.5, dense: Llama whose neighbouring dimensions are rotated, with one switch for all biases. */
export const ernie45: Family = {
  type: 'ernie4_5',
  keys: ['use_bias'],
  defaults: config => (config.stated('head_dim') ? {} : { head_dim: 128 }),
  kvHeadsDefault: 'null',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  tied: true,
  ropeTheta: 500_000,
  parts: () => ({ rotaryInterleaved: true }),
  biases(config) {
    const all = config.flag('use_bias');
    return { attentionBias: all, outputBias: all, mlpBias: all };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
