import { everyLayer, type Family } from './family';
import { wideMlp } from './names';

/** GPT-NeoX and Pythia: attention and MLP side by side, each with a norm; q, k and v of a head together. */
export const gptNeox: Family = {
  type: 'gpt_neox',
  keys: ['layer_norm_eps', 'use_parallel_residual', 'attention_bias'],
  aliases: { partial_rotary_factor: 'rotary_pct', rope_theta: 'rotary_emb_base' },
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-5],
  activation: ['hidden_act', 'gelu'],
  rotatedShare: 0.25,
  modules: { qkv: 'attention.query_key_value', o: 'attention.dense', ...wideMlp },
  outer: {
    prefixes: ['gpt_neox.', ''],
    modules: { embedding: 'embed_in', final_norm: 'final_layer_norm' },
    head: { head: ['embed_out.weight'] },
  },
  parts: config => ({
    norm: 'layer',
    plainMlp: true,
    fusedQkv: 'grouped',
    parallel: config.has('use_parallel_residual') ? config.flag('use_parallel_residual') : true,
  }),
  biases(config) {
    const attention = config.has('attention_bias') ? config.flag('attention_bias') : true;
    return { attentionBias: attention, outputBias: attention, mlpBias: true };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
