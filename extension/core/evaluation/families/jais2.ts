import { everyLayer, type Family } from './family';

/** Jais 2: Llama with layer norms, and squared ReLU without a gate. */
export const jais2: Family = {
  type: 'jais2',
  keys: ['layer_norm_eps', 'attention_bias', 'mlp_bias'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-5],
  activation: ['hidden_act', 'relu2'],
  parts: () => ({ norm: 'layer', plainMlp: true }),
  biases(config) {
    const on = (key: string): boolean => (config.stated(key) ? config.flag(key) : true);
    return { attentionBias: on('attention_bias'), outputBias: on('attention_bias'), mlpBias: on('mlp_bias') };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
