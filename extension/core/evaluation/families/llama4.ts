import type { ConfigReader } from '../config-reader';
import { expertCounts, together, type ExpertFamily } from './experts';
import { biasSwitches, type Family } from './family';

/** Layers with experts: those named, else each `interleave_moe_layer_step`th. */
function routedLayers(config: ConfigReader, layers: number): boolean[] {
  const listed = config.list('moe_layers');
  const step = config.count('interleave_moe_layer_step', 1);
  return Array.from({ length: layers }, (_, i) => listed?.includes(i) ?? (i + 1) % step === 0);
}

/** Which layers turn queries and keys; 1 stands for one that does. */
function turning(config: ConfigReader, layers: number): boolean[] {
  const listed = config.list('no_rope_layers') ?? [];
  const interval = config.count('no_rope_layer_interval', 4);
  if (listed.length === 0) return Array.from({ length: layers }, (_, i) => (i + 1) % interval !== 0);
  if (listed.length < layers) config.refuse(`no_rope_layers names ${listed.length} layers of ${layers}`);
  return listed.slice(0, layers).map(value => value !== 0 && value !== false);
}

const switched = (config: ConfigReader, key: string): boolean => (config.stated(key) ? config.flag(key) : true);

const experts: ExpertFamily = {
  read(config, layers) {
    const intermediate = config.count('intermediate_size', 8192);
    const routed = routedLayers(config, layers);
    return {
      experts: {
        ...expertCounts(config, { count: ['num_local_experts'], topK: 'num_experts_per_tok', defaults: [16, 1] }),
        intermediate,
        score: 'sigmoid',
        scaleInput: true,
      },
      routed,
      widths: routed.map(each => (each ? intermediate : config.count('intermediate_size_mlp', 16384))),
    };
  },
  layouts: [
    {
      router: 'feed_forward.router',
      shared: 'feed_forward.shared_expert',
      matrices: together('feed_forward.experts', { transposed: true }),
    },
  ],
};

/**
 * Llama 4, text: a router weighs what experts read, beside one that all tokens share; layers that turn attend within chunks and
 * normalise queries and keys, the others see everything, with queries that grow.
 */
export const llama4: Family = {
  type: 'llama4_text',
  keys: [
    ...['intermediate_size_mlp', 'num_local_experts', 'num_experts_per_tok', 'moe_layers', 'interleave_moe_layer_step'],
    ...['no_rope_layers', 'no_rope_layer_interval', 'attention_chunk_size', 'layer_types', 'use_qk_norm'],
    ...['attn_temperature_tuning', 'floor_scale', 'attn_scale', 'attention_bias', 'for_llm_compressor'],
  ],
  defaults: config => (config.stated('head_dim') ? {} : { head_dim: 128 }),
  kvHeadsDefault: 'null',
  qkNorm: config => switched(config, 'use_qk_norm'),
  epsilon: ['rms_norm_eps', 1e-5],
  ropeTheta: 500_000,
  modules: { gate: 'feed_forward.gate_proj', up: 'feed_forward.up_proj', down: 'feed_forward.down_proj' },
  experts,
  rotary: (config, layers) => turning(config, layers).map(turns => (turns ? 'standard' : 'none')),
  parts(config) {
    const rope = config.object('rope_scaling') ?? config.object('rope_parameters');
    const stretched = ['yarn', 'longrope', 'su'].includes(rope?.text('rope_type', rope.text('type', '')) ?? '');
    // The norm would take the stretch away again, where it comes before it does not.
    if (stretched && switched(config, 'use_qk_norm'))
      config.refuse(
        'Norms of queries and keys (use_qk_norm) after a rotary embedding that scales them are not supported',
      );
    return {
      headNorm: 'bare',
      rotaryInterleaved: true,
      chunked: true,
      ...(switched(config, 'attn_temperature_tuning') && {
        queryGrowth: {
          rate: config.number('attn_scale', 0.1),
          length: config.count('floor_scale', 8192),
          offset: 1,
          unrotated: true,
        },
      }),
    };
  },
  biases: config => ({ ...biasSwitches(config), mlpBias: false }),
  windows(config, layers) {
    const chunk = config.stated('attention_chunk_size') && !config.has('attention_chunk_size') ? 0 : undefined;
    const size = chunk ?? config.count('attention_chunk_size', 8192);
    const types =
      config.list('layer_types') ??
      turning(config, layers).map(turns => (turns && size > 0 ? 'chunked_attention' : 'full_attention'));
    if (types.length < layers)
      config.refuse(`layer_types names ${types.length} layers and num_hidden_layers ${layers}`);
    return types.slice(0, layers).map(type => {
      if (type === 'full_attention') return 0;
      if (type !== 'chunked_attention') config.refuse(`A layer of type ${String(type)} is not supported`);
      if (size === 0) config.refuse('layer_types has chunked_attention, and attention_chunk_size is null');
      return size;
    });
  },
};
