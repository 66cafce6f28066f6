import { biasSwitches, everyLayer, type Family } from './family';

/** Llama 1 to 3, and the many models published under its name. Keys of windows are not read. */
export const llama: Family = {
  type: 'llama',
  keys: ['attention_bias', 'mlp_bias'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  biases: biasSwitches,
  windows: (_, layers) => everyLayer(0, layers),
};
