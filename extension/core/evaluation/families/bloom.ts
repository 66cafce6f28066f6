import { alibiSlopes } from './alibi';
import { everyLayer, unlimited, unrotated, type Family } from './family';
import { transformerNames, wideMlp } from './names';

/** BLOOM: biases by distance in place of positions, embeddings normalised. */
export const bloom: Family = {
  type: 'bloom',
  keys: [
    ...['layer_norm_epsilon', 'apply_residual_connection_post_layernorm', 'slow_but_exact', 'seq_length'],
    ...['hidden_dropout', 'attention_softmax_in_fp32', 'masked_softmax_fusion', 'bias_dropout_fusion'],
    ...['skip_bias_add', 'skip_bias_add_qkv', 'offset_alibi'],
  ],
  aliases: { num_hidden_layers: 'n_layer', num_attention_heads: 'n_head', hidden_size: 'n_embed' },
  fixed: config => ({ intermediate_size: 4 * config.count('hidden_size'), ...unlimited }),
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_epsilon', 1e-5],
  tied: true,
  modules: { qkv: 'self_attention.query_key_value', o: 'self_attention.dense', ...wideMlp },
  outer: transformerNames({ embedding: 'word_embeddings', embedding_norm: 'word_embeddings_layernorm' }),
  rotary: unrotated,
  parts(config) {
    if (config.flag('apply_residual_connection_post_layernorm'))
      config.refuse('Residuals from behind the norms (apply_residual_connection_post_layernorm) are not supported');
    return {
      norm: 'layer',
      activation: 'gelu_tanh',
      plainMlp: true,
      fusedQkv: 'grouped',
      embedding: { norm: true },
      alibi: alibiSlopes(config.count('num_attention_heads')),
    };
  },
  biases: () => ({ attentionBias: true, outputBias: true, mlpBias: true }),
  windows: (_, layers) => everyLayer(0, layers),
};
