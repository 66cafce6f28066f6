/** The keys of a GGUF file as the config.json that transformers would have for it. */
import type { CheckpointIndex } from '../types';
import { numericDescriptor } from '../formats/descriptors';
import { isArray, type GgufMetadata, type GgufValue } from './values';
import { LLAMA_LIKE } from './names';

type Config = Record<string, unknown>;

/** Frequencies of the rotary embedding divided by these, one for each pair: how llama.cpp stores Llama 3's scaling. */
export const ROPE_FREQS = 'rope_freqs.weight';

/**
 * A configuration of the llama family, or for other architectures only its name. Values are not validated here: a field of
 * another type is refused by whoever reads the configuration.
 */
export function ggufConfig(
  metadata: GgufMetadata,
  { byName, descriptors }: Pick<CheckpointIndex, 'byName' | 'descriptors'>,
): Config {
  const architecture = metadata.get('general.architecture');
  if (typeof architecture !== 'string') return {};
  const own = (key: string): GgufValue | undefined => asNumber(metadata.get(`${architecture}.${key}`));
  if (!LLAMA_LIKE.has(architecture)) return { model_type: architecture };
  if (own('expert_count')) return { model_type: `${architecture} with experts` };
  const hidden = own('embedding_length');
  const heads = own('attention.head_count');
  const headDim = own('attention.key_length') ?? own('rope.dimension_count') ?? quotient(hidden, heads);
  const has = (name: string): boolean => byName.has(name);
  return {
    model_type: architecture,
    architectures: [ARCHITECTURES[architecture]],
    hidden_size: hidden,
    num_hidden_layers: own('block_count'),
    intermediate_size: perLayer(own('feed_forward_length')),
    num_attention_heads: perLayer(heads),
    num_key_value_heads: perLayer(own('attention.head_count_kv') ?? heads),
    head_dim: headDim,
    rms_norm_eps: own('attention.layer_norm_rms_epsilon'),
    max_position_embeddings: own('context_length'),
    vocab_size: byName.get('token_embd.weight')?.shape[0] ?? own('vocab_size'),
    tie_word_embeddings: !has('output.weight'),
    ...(has('blk.0.attn_q.bias') && architecture !== 'qwen2' && { attention_bias: true }),
    ...(has('blk.0.ffn_gate.bias') && { mlp_bias: true }),
    ...partialRotary(own('rope.dimension_count'), headDim),
    rope_theta: own('rope.freq_base') ?? 10_000,
    ...ropeScaling(own, headDim, numericDescriptor(descriptors.get(ROPE_FREQS), 'F32')),
    bos_token_id: asNumber(metadata.get('tokenizer.ggml.bos_token_id')),
    eos_token_id: asNumber(metadata.get('tokenizer.ggml.eos_token_id')),
  };
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** Whole numbers beyond 2^53 as JSON has them: rounded, and refused like any other that is too large. */
const asNumber = (value: GgufValue | undefined): GgufValue | undefined =>
  typeof value === 'bigint' ? Number(value) : value;

/** Some architectures give a number for every layer; the runtime has one for all, and refuses the text this becomes. */
const perLayer = (value: GgufValue | undefined): unknown => (isArray(value) ? 'different in every layer' : value);

function quotient(a: GgufValue | undefined, b: GgufValue | undefined): number | undefined {
  return typeof a === 'number' && typeof b === 'number' ? Math.floor(a / b) : undefined;
}

function partialRotary(dimensions: GgufValue | undefined, headDim: unknown): Config {
  if (typeof dimensions !== 'number' || typeof headDim !== 'number' || dimensions === headDim) return {};
  return { partial_rotary_factor: dimensions / headDim };
}

function ropeScaling(
  own: (key: string) => GgufValue | undefined,
  headDim: unknown,
  divisors: readonly number[] | undefined,
): Config {
  if (divisors) return { rope_scaling: llama3(divisors, headDim, own('rope.freq_base')) };
  const type = own('rope.scaling.type');
  if (type === undefined || type === 'none') return {};
  return {
    rope_scaling: {
      rope_type: type,
      factor: own('rope.scaling.factor'),
      original_max_position_embeddings: own('rope.scaling.original_context_length'),
      attention_factor: own('rope.scaling.attn_factor'),
      beta_fast: own('rope.scaling.yarn_beta_fast'),
      beta_slow: own('rope.scaling.yarn_beta_slow'),
    },
  };
}

/** Llama 3.1 to 3.3 differ in the factor alone, which is the largest of the file's divisors. */
function llama3(divisors: readonly number[], headDim: unknown, theta: unknown): Config {
  const factor = Math.max(...divisors);
  const scaling = { factor, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };
  // Only of a head that has so many pairs: its size is a number from the file.
  const fits = typeof headDim === 'number' && headDim === 2 * divisors.length;
  const expected = fits ? llama3Divisors(headDim, Number(theta ?? 10_000), scaling) : [];
  const same = fits && divisors.every((d, i) => Math.abs(d / expected[i]! - 1) < 1e-4);
  return {
    rope_type: same ? 'llama3' : `of ${ROPE_FREQS}`,
    factor,
    low_freq_factor: scaling.lowFreqFactor,
    high_freq_factor: scaling.highFreqFactor,
    original_max_position_embeddings: scaling.originalMaxPositions,
  };
}

/** The divisors of Llama 3's scaling (transformers, `_compute_llama3_parameters`), one for each pair of a head. */
export function llama3Divisors(
  headDim: number,
  theta: number,
  scaling: { factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number },
): number[] {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < originalMaxPositions / highFreqFactor) return 1;
    if (wavelength > originalMaxPositions / lowFreqFactor) return factor;
    const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
