import type { ConfigReader } from '../config-reader';
import { everyLayer, type Family } from './family';

/**
 * A "dynamic" rotary scaling with an alpha is none that moves: the base is theta alpha^(d / (d - 2)) for heads of d dimensions.
 */
function fixedBase(config: ConfigReader): Readonly<Record<string, unknown>> {
  const scaling = ['rope_scaling', 'rope_parameters'].map(key => config.object(key)).find(each => each !== undefined);
  if (scaling === undefined || scaling.text('rope_type', scaling.text('type', 'default')) !== 'dynamic') return {};
  const alpha = scaling.number('alpha', 0);
  if (alpha === 0) return {};
  const theta = scaling.has('rope_theta') ? scaling.number('rope_theta') : config.number('rope_theta', 10_000);
  const size = config.count('head_dim', Math.floor(config.count('hidden_size') / config.count('num_attention_heads')));
  const base = theta * alpha ** (size / (size - 2));
  return { rope_scaling: undefined, rope_parameters: { rope_type: 'default', rope_theta: base } };
}

/** HunYuan, dense: Llama whose queries and keys are normalised by head once they are rotated. */
export const hunyuanDense: Family = {
  type: 'hunyuan_v1_dense',
  keys: ['attention_bias', 'eod_token_id'],
  fixed: fixedBase,
  kvHeadsDefault: 'null-or-absent',
  qkNorm: true,
  epsilon: ['rms_norm_eps', 1e-5],
  modules: { q_norm: 'self_attn.query_layernorm', k_norm: 'self_attn.key_layernorm' },
  parts: () => ({ headNorm: 'rotated' }),
  biases(config) {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
