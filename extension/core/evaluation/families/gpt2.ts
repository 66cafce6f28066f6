import { everyLayer, unrotated, type Family } from './family';
import { transformerNames } from './names';

/** Names of a block in GPT-2 and GPT-BigCode. */
const gpt2Modules = {
  ...{ input_norm: 'ln_1', post_attention_norm: 'ln_2' },
  ...{ qkv: 'attn.c_attn', o: 'attn.c_proj', up: 'mlp.c_fc', down: 'mlp.c_proj' },
};
export const gpt2Aliases = {
  hidden_size: 'n_embd',
  num_hidden_layers: 'n_layer',
  num_attention_heads: 'n_head',
  max_position_embeddings: 'n_positions',
  intermediate_size: 'n_inner',
};
/** Keys of its summary head, which language models have not, and of dropout. */
export const gpt2Inert = [
  ...['summary_type', 'summary_use_proj', 'summary_activation', 'summary_proj_to_labels', 'summary_first_dropout'],
  ...['resid_pdrop', 'embd_pdrop', 'attn_pdrop', 'reorder_and_upcast_attn', 'n_ctx'],
];

/** GPT-2: learned positions, layer norms, biases everywhere, matrices stored the other way round. */
export const gpt2: Family = {
  type: 'gpt2',
  keys: [
    ...['layer_norm_epsilon', 'activation_function', 'scale_attn_weights', 'scale_attn_by_inverse_layer_idx'],
    ...gpt2Inert,
  ],
  aliases: gpt2Aliases,
  defaults: config => ({ intermediate_size: 4 * config.count('hidden_size') }),
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_epsilon', 1e-5],
  activation: ['activation_function', 'gelu_new'],
  tied: true,
  modules: gpt2Modules,
  outer: transformerNames(),
  transposed: true,
  rotary: unrotated,
  parts(config) {
    if (config.flag('scale_attn_by_inverse_layer_idx'))
      config.refuse('Another scale of attention in each layer (scale_attn_by_inverse_layer_idx) is not supported');
    return {
      norm: 'layer',
      plainMlp: true,
      fusedQkv: 'stacked',
      embedding: { positions: config.count('max_position_embeddings') },
      ...(config.has('scale_attn_weights') && !config.flag('scale_attn_weights') && { attentionScale: 1 }),
    };
  },
  biases: () => ({ attentionBias: true, outputBias: true, mlpBias: true }),
  windows: (_, layers) => everyLayer(0, layers),
};
