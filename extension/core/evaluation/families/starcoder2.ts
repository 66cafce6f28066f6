import { everyLayer, type Family } from './family';

/** StarCoder2: layer norms, an MLP without a gate, biases everywhere. */
export const starcoder2: Family = {
  type: 'starcoder2',
  keys: [
    'norm_epsilon',
    'use_bias',
    'sliding_window',
    'residual_dropout',
    'embedding_dropout',
    'mlp_type',
    'norm_type',
  ],
  kvHeadsDefault: 'never',
  qkNorm: false,
  epsilon: ['norm_epsilon', 1e-5],
  activation: ['hidden_act', 'gelu_pytorch_tanh'],
  tied: true,
  modules: { up: 'mlp.c_fc', down: 'mlp.c_proj' },
  parts: () => ({ norm: 'layer', plainMlp: true }),
  biases: config => {
    const bias = config.stated('use_bias') ? config.flag('use_bias') : true;
    return { attentionBias: bias, outputBias: bias, mlpBias: bias };
  },
  windows: (config, layers) => everyLayer(config.number('sliding_window', 0), layers),
};
