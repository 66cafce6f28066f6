/** What a GGUF file says of its model: the keys llama.cpp requires (src/llama-model.cpp, gguf-py/gguf/constants.py). */
import type { GgufField } from '../../checkpoint/gguf/serialize';
import type { NativeExperts, NativeLanguageModelConfig } from '../../native';
import { f32, text, u32, type Architecture } from './architectures/architecture';
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

/** Parts of the network that keys say, where it has them. */
function statedParts(
  config: NativeLanguageModelConfig,
  { states = {} }: Architecture,
): (readonly [string, GgufField])[] {
  return Object.entries(states).flatMap(([part, say]) => {
    const value = config[part as keyof NativeLanguageModelConfig];
    return typeof value === 'number' && value !== 0 ? [say(value)] : [];
  });
}

function expertFields(
  { layerTraits }: NativeLanguageModelConfig,
  { count, topK, intermediate }: NativeExperts,
  { experts }: Architecture,
): (readonly [string, GgufField])[] {
  const shared = layerTraits?.[0]?.width ?? 0;
  return [
    ['expert_count', u32(count)],
    ['expert_used_count', u32(topK)],
    ...(experts?.width === 'expert_feed_forward_length' ? [[experts.width, u32(intermediate)] as const] : []),
    ...(experts?.shared ? [[experts.shared, u32(shared)] as const] : []),
  ];
}
