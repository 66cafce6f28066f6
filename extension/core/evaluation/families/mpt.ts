import { mptSlopes } from './alibi';
import { everyLayer, noBiases, unrotated, type Family } from './family';
import { transformerNames } from './names';

/** Of the steepest slope: 2^-8 is that of the last head. */
const BIAS_MAX = 8;

/** MPT: biases by distance, layer norms without a bias. */
export const mpt: Family = {
  type: 'mpt',
  keys: [
    ...['layer_norm_epsilon', 'attn_config', 'expansion_ratio', 'resid_pdrop', 'emb_pdrop', 'learned_pos_emb'],
    ...['init_device', 'init_config', 'logit_scale', 'no_bias', 'verbose', 'embedding_fraction', 'norm_type'],
  ],
  aliases: {
    hidden_size: 'd_model',
    num_hidden_layers: 'n_layers',
    num_attention_heads: 'n_heads',
    max_position_embeddings: 'max_seq_len',
  },
  fixed: config => ({ intermediate_size: 4 * config.count('hidden_size') }),
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_epsilon', 1e-5],
  tied: true,
  modules: {
    ...{ input_norm: 'norm_1', post_attention_norm: 'norm_2', qkv: 'attn.Wqkv', o: 'attn.out_proj' },
    ...{ up: 'ffn.up_proj', down: 'ffn.down_proj' },
  },
  outer: transformerNames({ final_norm: 'norm_f' }, 'blocks'),
  rotary: unrotated,
  parts(config) {
    const attention = config.object('attn_config');
    for (const key of ['qk_ln', 'prefix_lm', 'attn_uses_sequence_id'])
      if (attention?.flag(key)) config.refuse(`attn_config.${key} is not supported`);
    if (attention?.has('alibi') && !attention.flag('alibi')) config.refuse('MPT without alibi is not supported');
    if ((attention?.text('attn_type', 'multihead_attention') ?? '') === 'multiquery_attention')
      config.refuse('attn_config.attn_type multiquery_attention is not supported');
    // transformers takes 8 whatever the configuration says; MPT's own code did not.
    if ((attention?.number('alibi_bias_max', BIAS_MAX) ?? BIAS_MAX) !== BIAS_MAX)
      config.refuse(`attn_config.alibi_bias_max other than ${BIAS_MAX} is not supported`);
    if (config.has('logit_scale')) config.refuse('A logit_scale of MPT is not supported');
    const clamp = attention?.number('clip_qkv', 0) ?? 0;
    return {
      norm: 'layer',
      normUnbiased: true,
      activation: 'gelu',
      plainMlp: true,
      fusedQkv: 'stacked',
      alibi: mptSlopes(config.count('num_attention_heads'), BIAS_MAX),
      ...(clamp > 0 && { attentionClamp: clamp }),
      ...(attention?.has('softmax_scale') && { attentionScale: attention.number('softmax_scale') }),
    };
  },
  biases: () => noBiases,
  windows: (_, layers) => everyLayer(0, layers),
};
