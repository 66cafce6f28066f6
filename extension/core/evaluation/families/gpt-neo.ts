import type { ConfigReader } from '../config-reader';
import { unrotated, type Family } from './family';
import { transformerNames } from './names';

/** Which layers see a window: `attention_types` has patterns with how often each is repeated. */
function localLayers(config: ConfigReader, layers: number): boolean[] {
  const types = config.list('attention_types') ?? [[['global', 'local'], layers / 2]];
  const expanded = types.flatMap(entry => {
    const [pattern, times] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (!Array.isArray(pattern) || typeof times !== 'number')
      config.refuse('attention_types is not a list of patterns');
    return Array.from({ length: times }, () => pattern as unknown[]).flat();
  });
  if (expanded.length !== layers) config.refuse(`attention_types names ${expanded.length} layers of ${layers}`);
  return expanded.map(type => {
    if (type !== 'global' && type !== 'local') config.refuse(`A layer of type ${String(type)} is not supported`);
    return type === 'local';
  });
}

/** GPT-Neo: learned positions, a window in every other layer, scores that are not scaled. */
export const gptNeo: Family = {
  type: 'gpt_neo',
  keys: [
    ...['layer_norm_epsilon', 'activation_function', 'attention_types', 'attention_layers', 'window_size'],
    ...['resid_dropout', 'embed_dropout'],
    ...['summary_type', 'summary_use_proj', 'summary_activation', 'summary_proj_to_labels', 'summary_first_dropout'],
  ],
  aliases: { num_hidden_layers: 'num_layers', num_attention_heads: 'num_heads' },
  defaults: config => ({ intermediate_size: 4 * config.count('hidden_size') }),
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_epsilon', 1e-5],
  activation: ['activation_function', 'gelu_new'],
  tied: true,
  modules: {
    ...{ input_norm: 'ln_1', post_attention_norm: 'ln_2' },
    ...{ q: 'attn.attention.q_proj', k: 'attn.attention.k_proj', v: 'attn.attention.v_proj' },
    ...{ o: 'attn.attention.out_proj', up: 'mlp.c_fc', down: 'mlp.c_proj' },
  },
  outer: transformerNames(),
  rotary: unrotated,
  parts: config => ({
    norm: 'layer',
    plainMlp: true,
    attentionScale: 1,
    embedding: { positions: config.count('max_position_embeddings', 2048) },
  }),
  biases: () => ({ attentionBias: false, outputBias: true, mlpBias: true }),
  windows: (config, layers) => localLayers(config, layers).map(local => (local ? config.count('window_size', 256) : 0)),
};
