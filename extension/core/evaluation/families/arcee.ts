import { biasSwitches, everyLayer, type Family } from './family';

/** Arcee's AFM: Llama with squared ReLU and no gate. */
export const arcee: Family = {
  type: 'arcee',
  keys: ['attention_bias', 'mlp_bias'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  activation: ['hidden_act', 'relu2'],
  parts: () => ({ plainMlp: true }),
  biases: biasSwitches,
  windows: (_, layers) => everyLayer(0, layers),
};
