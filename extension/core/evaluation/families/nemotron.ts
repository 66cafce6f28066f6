import { biasSwitches, everyLayer, type Family } from './family';

/** Nemotron and Minitron: layer norms that count from one, squared ReLU without a gate, half of each head rotated. */
export const nemotron: Family = {
  type: 'nemotron',
  keys: ['norm_eps', 'attention_bias', 'mlp_bias'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['norm_eps', 1e-5],
  activation: ['hidden_act', 'relu2'],
  rotatedShare: 0.5,
  parts: () => ({ norm: 'layer', normOffset: 1, plainMlp: true }),
  biases: biasSwitches,
  windows: (_, layers) => everyLayer(0, layers),
};
