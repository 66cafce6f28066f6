import type { Family } from './family';
import { wideMlp } from './names';
import { phi, phiModules } from './phi';

/** Persimmon: norms of each query and key head, squared ReLU; attention before the MLP. */
export const persimmon: Family = {
  ...phi,
  type: 'persimmon',
  keys: ['layer_norm_eps', 'qk_layernorm', 'hidden_dropout'],
  kvHeadsDefault: 'always',
  activation: ['hidden_act', 'relu2'],
  modules: { ...phiModules, qkv: 'self_attn.query_key_value', ...wideMlp },
  outer: { modules: { embedding: 'embed_tokens', final_norm: 'final_layernorm' } },
  parts: config => ({
    norm: 'layer',
    plainMlp: true,
    fusedQkv: 'grouped',
    ...((config.has('qk_layernorm') ? config.flag('qk_layernorm') : true) && { qkNorm: true, headNorm: 'layer' }),
  }),
};
