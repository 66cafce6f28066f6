import { windowsByPattern, type Family } from './family';
import { gemmaBiases, gemmaStream, refuseBothDirections } from './gemma';

/** Names of a block's four norms in Gemma 2 and 3. */
export const gemmaNorms = {
  attention_output_norm: 'post_attention_layernorm',
  post_attention_norm: 'pre_feedforward_layernorm',
  mlp_output_norm: 'post_feedforward_layernorm',
};

/** Gemma 2: norms around both halves, soft-caps, a window in every other layer. */
export const gemma2: Family = {
  type: 'gemma2',
  keys: [
    ...['hidden_activation', 'attention_bias', 'use_bidirectional_attention', 'query_pre_attn_scalar'],
    ...['attn_logit_softcapping', 'final_logit_softcapping', 'sliding_window', 'layer_types', 'cache_implementation'],
  ],
  kvHeadsDefault: 'never',
  headDim: 256,
  qkNorm: false,
  activation: ['hidden_activation', 'gelu_pytorch_tanh'],
  tied: true,
  modules: gemmaNorms,
  parts(config) {
    refuseBothDirections(config);
    const cap = (key: string, value: number): number => (config.stated(key) ? config.number(key, 0) : value);
    return {
      ...gemmaStream(config),
      normPlaces: 'both',
      attentionScale: 1 / Math.sqrt(config.number('query_pre_attn_scalar', 256)),
      attentionSoftcap: cap('attn_logit_softcapping', 50),
      logitSoftcap: cap('final_logit_softcapping', 30),
    };
  },
  biases: gemmaBiases,
  windows: (config, layers) => windowsByPattern(config, layers, config.number('sliding_window', 4096), 2),
};
