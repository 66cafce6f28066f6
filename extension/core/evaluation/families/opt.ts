import { everyLayer, unrotated, type Family } from './family';
import type { ConfigReader } from '../config-reader';

const before = (config: ConfigReader): boolean =>
  config.has('do_layer_norm_before') ? config.flag('do_layer_norm_before') : true;
const width = (config: ConfigReader): number => config.count('word_embed_proj_dim', config.count('hidden_size'));
const flagOr = (config: ConfigReader, key: string): boolean => (config.has(key) ? config.flag(key) : true);
/** Rows before that of the first position. */
const OFFSET = 2;

/** OPT: learned positions, ReLU; the 350M normalises sums, and its embeddings are narrower than its stream. */
export const opt: Family = {
  type: 'opt',
  keys: [
    ...['do_layer_norm_before', '_remove_final_layer_norm', 'word_embed_proj_dim', 'activation_function', 'dropout'],
    ...['layerdrop', 'init_std', 'enable_bias', 'layer_norm_elementwise_affine'],
  ],
  aliases: { intermediate_size: 'ffn_dim' },
  fixed: () => ({ rms_norm_eps: 1e-5 }),
  kvHeadsDefault: 'always',
  qkNorm: false,
  activation: ['activation_function', 'relu'],
  tied: true,
  modules: {
    ...{ input_norm: 'self_attn_layer_norm', post_attention_norm: 'final_layer_norm' },
    ...{ attention_output_norm: 'self_attn_layer_norm', mlp_output_norm: 'final_layer_norm' },
    ...{ o: 'self_attn.out_proj', up: 'fc1', down: 'fc2' },
  },
  outer: {
    prefixes: ['model.decoder.', 'decoder.', ''],
    modules: {
      ...{ embedding: 'embed_tokens', positions: 'embed_positions', final_norm: 'final_layer_norm' },
      embedding_projection: 'project_in',
    },
    head: { head: ['lm_head.weight'], head_dense: ['model.decoder.project_out.weight', 'decoder.project_out.weight'] },
  },
  rotary: unrotated,
  parts(config) {
    const narrow = width(config) !== config.count('hidden_size');
    return {
      norm: 'layer',
      plainMlp: true,
      normPlaces: before(config) ? 'before' : 'sum',
      ...(!flagOr(config, 'layer_norm_elementwise_affine') && { normBare: true }),
      ...((!before(config) || config.flag('_remove_final_layer_norm')) && { noLastNorm: true }),
      embedding: {
        positions: config.count('max_position_embeddings') + OFFSET,
        positionOffset: OFFSET,
        ...(narrow && { width: width(config), projectFirst: true }),
      },
      ...(narrow && { headTransform: { activation: 'identity' } }),
    };
  },
  biases(config) {
    const bias = flagOr(config, 'enable_bias');
    return { attentionBias: bias, outputBias: bias, mlpBias: bias };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
