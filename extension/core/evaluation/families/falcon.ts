import type { ConfigReader } from '../config-reader';
import { alibiSlopes } from './alibi';
import { everyLayer, unrotated, type Family } from './family';
import { transformerNames, wideMlp } from './names';

const flagOr = (config: ConfigReader, key: string, value: boolean): boolean =>
  config.has(key) ? config.flag(key) : value;
const isNew = (config: ConfigReader): boolean => config.flag('new_decoder_architecture');
const isParallel = (config: ConfigReader): boolean => flagOr(config, 'parallel_attn', true);
/** Norms that attention and MLP read through where they are side by side. */
const parallelNorms = (config: ConfigReader): number =>
  isNew(config) ? config.count('num_ln_in_parallel_attn', 2) : 1;

/** fp32 rounded to bf16, to nearest even, as a slope is before it is used. */
function toBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = ((bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16) << 16;
  return new Float32Array(bits.buffer)[0]!;
}

/** Falcon in its three kinds: one key-value head (7B), groups of them with two norms (40B), or biases by distance (RW). */
export const falcon: Family = {
  type: 'falcon',
  keys: [
    ...[
      'layer_norm_epsilon',
      'activation',
      'new_decoder_architecture',
      'multi_query',
      'parallel_attn',
      'bias',
      'alibi',
    ],
    ...[
      'num_ln_in_parallel_attn',
      'num_kv_heads',
      'ffn_hidden_size',
      'hidden_dropout',
      'apply_residual_connection_post_layernorm',
    ],
  ],
  aliases: { intermediate_size: 'ffn_hidden_size' },
  defaults: config => ({ intermediate_size: 4 * config.count('hidden_size') }),
  kvHeadsDefault(config) {
    const heads = config.count('num_attention_heads');
    if (isNew(config)) return config.count('num_kv_heads', heads);
    return flagOr(config, 'multi_query', true) ? 1 : heads;
  },
  qkNorm: false,
  epsilon: ['layer_norm_epsilon', 1e-5],
  activation: ['activation', 'gelu'],
  tied: true,
  modules: config => ({
    ...(isParallel(config) && parallelNorms(config) === 2 && { input_norm: 'ln_attn', post_attention_norm: 'ln_mlp' }),
    ...{ qkv: 'self_attention.query_key_value', o: 'self_attention.dense', ...wideMlp },
  }),
  outer: transformerNames({ embedding: 'word_embeddings' }),
  rotary: (config, layers) =>
    config.flag('alibi') ? unrotated(config, layers) : Array.from({ length: layers }, () => 'standard'),
  parts(config) {
    if (isNew(config) && !isParallel(config))
      config.refuse('The new decoder architecture without parallel_attn is not supported');
    const heads = config.count('num_attention_heads');
    return {
      norm: 'layer',
      plainMlp: true,
      fusedQkv: 'grouped',
      ...(isParallel(config) && { parallel: true, sharedNorm: parallelNorms(config) === 1 }),
      ...(config.flag('alibi') && {
        alibi: alibiSlopes(heads).map(toBfloat16),
        alibiRounded: true,
        alibiScale: 1 / Math.sqrt(Math.floor(config.count('hidden_size') / heads)),
      }),
    };
  },
  biases(config) {
    const bias = config.flag('bias');
    return { attentionBias: bias, outputBias: bias, mlpBias: bias };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
