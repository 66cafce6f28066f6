import { bert, encoderParts } from './bert';
import { readActivation } from './activations';
import type { Family } from './family';

/** DistilBERT: BERT without token types. */
export const distilbert: Family = {
  ...bert,
  type: 'distilbert',
  keys: ['activation', 'dropout', 'qa_dropout', 'seq_classif_dropout', 'sinusoidal_pos_embds', 'tie_weights_'],
  aliases: {
    hidden_size: 'dim',
    num_attention_heads: 'n_heads',
    num_hidden_layers: 'n_layers',
    intermediate_size: 'hidden_dim',
  },
  fixed: () => ({ rms_norm_eps: 1e-12 }),
  epsilon: ['rms_norm_eps', 1e-12],
  activation: ['activation', 'gelu'],
  modules: {
    ...{ q: 'attention.q_lin', k: 'attention.k_lin', v: 'attention.v_lin', o: 'attention.out_lin' },
    ...{
      attention_output_norm: 'sa_layer_norm',
      mlp_output_norm: 'output_layer_norm',
      up: 'ffn.lin1',
      down: 'ffn.lin2',
    },
  },
  outer: {
    prefixes: ['distilbert.', ''],
    layers: 'transformer.layer',
    modules: {
      embedding: 'embeddings.word_embeddings',
      positions: 'embeddings.position_embeddings',
      embedding_norm: 'embeddings.LayerNorm',
    },
    head: {
      head: ['vocab_projector.weight'],
      head_dense: ['vocab_transform.weight'],
      head_dense_bias: ['vocab_transform.bias'],
      head_norm: ['vocab_layer_norm.weight'],
      head_norm_bias: ['vocab_layer_norm.bias'],
      head_bias: ['vocab_projector.bias'],
    },
  },
  parts: config => ({
    ...encoderParts,
    embedding: { positions: config.count('max_position_embeddings', 512), norm: true },
    headTransform: { bias: true, norm: true, activation: readActivation(config, 'activation', 'gelu') },
  }),
};
