/** What a GGUF file says of its model: the keys llama.cpp requires (src/llama-model.cpp, gguf-py/gguf/constants.py). */
import type { GgufField } from '../../checkpoint/gguf/serialize';
import { LqError } from '../../errors';
import type { NativeLanguageModelConfig } from '../../native';

/** General.file_type by the type most weights have (llama_ftype of llama.h); a label for people, nothing depends on it. */
const FILE_TYPES: Readonly<Record<string, number>> = {
  ...{ F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q2_K: 10, Q3_K: 12, Q4_K: 15, Q5_K: 17, Q6_K: 18 },
  ...{ IQ2_XXS: 19, IQ2_XS: 20, IQ3_XXS: 23, IQ4_NL: 25, IQ3_S: 26, IQ2_S: 28, IQ4_XS: 30, BF16: 32, MXFP4: 38 },
};

/** Mistral is stored as `llama`. */
export const architectureOf = (modelType: unknown): string => (modelType === 'mistral' ? 'llama' : String(modelType));

/**
 * @param modelType of config.json, one that can be run
 * @param mostly the type most weights are stored as
 * @throws LqError 'unsupported-model' for what llama.cpp would compute otherwise.
 */
export function modelFields(
  config: NativeLanguageModelConfig,
  modelType: unknown,
  label: string,
  mostly: string,
  file: string,
): Map<string, GgufField> {
  const architecture = architectureOf(modelType);
  const refuse = (what: string): never => {
    throw new LqError('unsupported-model', `${what} has no form in GGUF for ${architecture}.`, { file });
  };
  if (config.slidingWindow > 0) refuse(`A sliding window of ${config.slidingWindow} tokens`);
  const u32 = (value: number): GgufField => ({ type: 'u32', value });
  const f32 = (value: number): GgufField => ({ type: 'f32', value });
  const text = (value: string): GgufField => ({ type: 'string', value });
  const own: [string, GgufField][] = [
    ['context_length', u32(config.maxPositions)],
    ['embedding_length', u32(config.hidden)],
    ['block_count', u32(config.layers)],
    ['feed_forward_length', u32(config.intermediate)],
    ['attention.head_count', u32(config.heads)],
    ['attention.head_count_kv', u32(config.kvHeads)],
    ['attention.layer_norm_rms_epsilon', f32(config.rmsEps)],
    ['attention.key_length', u32(config.headDim)],
    ['attention.value_length', u32(config.headDim)],
    ['rope.dimension_count', u32(config.headDim)],
    ['rope.freq_base', f32(config.ropeTheta)],
    ['vocab_size', u32(config.vocab)],
  ];
  const { rope } = config;
  if (rope.type === 'linear')
    own.push(['rope.scaling.type', text('linear')], ['rope.scaling.factor', f32(rope.factor!)]);
  else if (rope.type === 'yarn')
    own.push(
      ['rope.scaling.type', text('yarn')],
      ['rope.scaling.factor', f32(rope.factor!)],
      ['rope.scaling.original_context_length', u32(rope.originalMaxPositions!)],
    );
  else if (rope.type === 'dynamic') refuse('The rotary scaling dynamic');
  return new Map<string, GgufField>([
    ['general.architecture', text(architecture)],
    ['general.type', text('model')],
    ['general.name', text(label)],
    ['general.file_type', u32(FILE_TYPES[mostly] ?? 0)],
    ['general.quantization_version', u32(2)],
    ...own.map(([key, value]): [string, GgufField] => [`${architecture}.${key}`, value]),
  ]);
}
