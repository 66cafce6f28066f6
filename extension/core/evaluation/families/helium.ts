import { biasSwitches, everyLayer, type Family } from './family';

/** Helium: Llama whose neighbouring dimensions are rotated, with an output projection that has no bias. */
export const helium: Family = {
  type: 'helium',
  keys: ['attention_bias', 'mlp_bias'],
  kvHeadsDefault: 'never',
  headDim: 128,
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-8],
  ropeTheta: 100_000,
  parts: () => ({ rotaryInterleaved: true }),
  biases: config => ({ ...biasSwitches(config), outputBias: false }),
  windows: (_, layers) => everyLayer(0, layers),
};
