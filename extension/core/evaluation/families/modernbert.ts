import { readActivation } from './activations';
import type { Family } from './family';
import { windowsByType } from './family';

/** ModernBERT: norms before halves, gated MLPs, rotation; two of three layers see a window to either side. */
export const modernbert: Family = {
  type: 'modernbert',
  masked: true,
  keys: [
    ...['norm_eps', 'norm_bias', 'hidden_activation', 'attention_bias', 'mlp_bias', 'decoder_bias', 'layer_types'],
    ...['local_attention', 'global_attn_every_n_layers', 'global_rope_theta', 'local_rope_theta'],
    ...['classifier_bias', 'classifier_activation', 'classifier_pooling', 'cls_token_id', 'initializer_cutoff_factor'],
    ...['embedding_dropout', 'mlp_dropout', 'deterministic_flash_attn', 'sparse_prediction'],
    ...['sparse_pred_ignore_index', 'reference_compile', 'repad_logits_with_grad', 'position_embedding_type'],
    ...['layer_norm_eps', 'use_cache'],
  ],
  aliases: { rope_theta: 'global_rope_theta', rope_local_base_freq: 'local_rope_theta' },
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['norm_eps', 1e-5],
  activation: ['hidden_activation', 'gelu'],
  tied: true,
  ropeTheta: { full: 160_000, sliding: 10_000 },
  modules: {
    ...{ input_norm: 'attn_norm', qkv: 'attn.Wqkv', o: 'attn.Wo' },
    ...{ post_attention_norm: 'mlp_norm', gate_up: 'mlp.Wi', down: 'mlp.Wo' },
  },
  outer: {
    prefixes: ['model.', ''],
    modules: { embedding: 'embeddings.tok_embeddings', embedding_norm: 'embeddings.norm', final_norm: 'final_norm' },
    head: {
      head: ['decoder.weight'],
      head_dense: ['head.dense.weight'],
      head_dense_bias: ['head.dense.bias'],
      head_norm: ['head.norm.weight'],
      head_norm_bias: ['head.norm.bias'],
      head_bias: ['decoder.bias'],
    },
  },
  parts: config => ({
    norm: 'layer',
    ...(!config.flag('norm_bias') && { normUnbiased: true }),
    noFirstNorm: true,
    fusedQkv: 'stacked',
    fusedGateUp: 'stacked',
    bothDirections: true,
    embedding: { norm: true },
    headTransform: {
      norm: true,
      activation: readActivation(config, 'classifier_activation', 'gelu'),
      ...(config.flag('classifier_bias') && { bias: true }),
    },
    headBias: config.has('decoder_bias') ? config.flag('decoder_bias') : true,
  }),
  biases(config) {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: config.flag('mlp_bias') };
  },
  windows(config, layers) {
    // As many tokens to either side as half of it, and the own one.
    const window = Math.floor(config.count('local_attention', 128) / 2) + 1;
    const every = config.count('global_attn_every_n_layers', 3);
    return (
      windowsByType(config, layers, window) ??
      Array.from({ length: layers }, (_, layer) => (layer % every === 0 ? 0 : window))
    );
  },
};
