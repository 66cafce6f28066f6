/** What a GGUF file says of its model: the keys llama.cpp requires (src/llama-model.cpp, gguf-py/gguf/constants.py). */
import type { GgufField } from '../../checkpoint/gguf/serialize';
import type { NativeExperts, NativeLanguageModelConfig } from '../../native';
import { f32, text, u32, type Architecture, type Stated } from '../../checkpoint/gguf/architectures/architecture';
import { windowOf } from './fit';

/** General.file_type by the type most weights have (llama_ftype of llama.h); a label for people, nothing depends on it. */
const FILE_TYPES: Readonly<Record<string, number>> = {
  ...{ F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q2_K: 10, Q3_K: 12, Q4_K: 15, Q5_K: 17, Q6_K: 18 },
  ...{ IQ2_XXS: 19, IQ2_XS: 20, IQ3_XXS: 23, IQ4_NL: 25, IQ3_S: 26, IQ2_S: 28, IQ4_XS: 30, BF16: 32, MXFP4: 38 },
};

/**
 * @param label of the model, for people
 * @param mostly the type most weights are stored as
 * @throws LqError 'unsupported-model' for what llama.cpp would compute otherwise.
 */
export function modelFields(
  config: NativeLanguageModelConfig,
  architecture: Architecture,
  label: string,
  mostly: string,
  file: string,
): Map<string, GgufField> {
  const { window, positions } = windowOf(config, architecture, file);
  const { rope, experts, norm = 'rms' } = config;
  const own: (readonly [string, GgufField])[] = [
    ['context_length', u32(positions)],
    ['embedding_length', u32(config.hidden)],
    ['block_count', u32(config.layers)],
    [
      'feed_forward_length',
      u32(
        experts && architecture.experts?.width === 'feed_forward_length' ? experts.intermediate : config.intermediate,
      ),
    ],
    ['attention.head_count', u32(config.heads)],
    ['attention.head_count_kv', u32(config.kvHeads)],
    [norm === 'rms' ? 'attention.layer_norm_rms_epsilon' : 'attention.layer_norm_epsilon', f32(config.rmsEps)],
    ['attention.key_length', u32(config.headDim)],
    ['attention.value_length', u32(config.headDim)],
    ['rope.dimension_count', u32(config.rotaryDim ?? config.headDim)],
    ['rope.freq_base', f32(config.ropeTheta)],
    ['vocab_size', u32(config.vocab)],
    ...(window === undefined ? [] : [['attention.sliding_window', u32(window)] as const]),
    ...statedParts(config, architecture),
    ...(architecture.keys?.(config) ?? []),
    ...(experts ? expertFields(config, experts, architecture) : []),
  ];
  if (rope.type === 'linear')
    own.push(['rope.scaling.type', text('linear')], ['rope.scaling.factor', f32(rope.factor!)]);
  else if (rope.type === 'yarn')
    own.push(
      ['rope.scaling.type', text('yarn')],
      ['rope.scaling.factor', f32(rope.factor!)],
      ['rope.scaling.original_context_length', u32(rope.originalMaxPositions!)],
    );
  else if (rope.type === 'longrope')
    own.push(
      ['rope.scaling.type', text('longrope')],
      ['rope.scaling.original_context_length', u32(rope.originalMaxPositions!)],
      ['rope.scaling.attn_factor', f32(rope.attentionFactor!)],
    );
  return new Map<string, GgufField>([
    ['general.architecture', text(architecture.name)],
    ['general.type', text('model')],
    ['general.name', text(label)],
    ['general.file_type', u32(FILE_TYPES[mostly] ?? 0)],
    ['general.quantization_version', u32(2)],
    ...own.map(([key, value]): [string, GgufField] => [`${architecture.name}.${key}`, value]),
  ]);
}

/** Parts of the network, or of its experts, that keys say, where it has them. */
function statedParts<Parts extends object>(
  config: Parts,
  { states = {} }: { readonly states?: { readonly [part in keyof Parts]?: Stated } },
): (readonly [string, GgufField])[] {
  return Object.entries<Stated>(states as Record<string, Stated>).flatMap(
    ([part, { key, as }]): (readonly [string, GgufField])[] => {
      const value = config[part as keyof Parts];
      if (as === 'flag') return [[key, { type: 'bool', value: value === true }]];
      return typeof value === 'number' && value !== 0 ? [[key, f32(as === 'inverse' ? 1 / value : value)]] : [];
    },
  );
}

function expertFields(
  { layerTraits }: NativeLanguageModelConfig,
  experts: NativeExperts,
  architecture: Architecture,
): (readonly [string, GgufField])[] {
  const { count, topK, intermediate } = experts;
  const dense = layerTraits?.findIndex(({ routed }) => routed === true) ?? 0;
  const shared = layerTraits?.[dense]?.width ?? 0;
  const { width, shared: wide, dense: first, keys = [] } = architecture.experts ?? {};
  return [
    ['expert_count', u32(count)],
    ['expert_used_count', u32(topK)],
    ...(width === 'expert_feed_forward_length' ? [[width, u32(intermediate)] as const] : []),
    ...(wide ? [[wide, u32(wide === 'expert_shared_count' ? shared / intermediate : shared)] as const] : []),
    ...(first ? [[first, u32(dense)] as const] : []),
    ...statedParts(experts, architecture.experts ?? {}),
    ...keys,
  ];
}
