import { everyLayer, type Family } from './family';
import { headBiasNames } from './names';

/** Modules of a block, by kind of weight. */
export const phiModules = {
  ...{ o: 'self_attn.dense', up: 'mlp.fc1', down: 'mlp.fc2' },
  ...{ q_norm: 'self_attn.q_layernorm', k_norm: 'self_attn.k_layernorm' },
};

/** Phi 1 and 2: attention and MLP side by side behind one norm, half of each head rotated, biases everywhere. */
export const phi: Family = {
  type: 'phi',
  keys: ['layer_norm_eps', 'qk_layernorm', 'resid_pdrop', 'embd_pdrop'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-5],
  activation: ['hidden_act', 'gelu_new'],
  rotatedShare: 0.5,
  modules: phiModules,
  outer: {
    modules: { embedding: 'embed_tokens', final_norm: 'final_layernorm' },
    head: { head: ['lm_head.weight'], ...headBiasNames },
  },
  parts: config => ({
    norm: 'layer',
    plainMlp: true,
    parallel: true,
    sharedNorm: true,
    headBias: true,
    ...(config.flag('qk_layernorm') && { qkNorm: true, headNorm: 'layer' }),
  }),
  biases: () => ({ attentionBias: true, outputBias: true, mlpBias: true }),
  windows: (_, layers) => everyLayer(0, layers),
};
