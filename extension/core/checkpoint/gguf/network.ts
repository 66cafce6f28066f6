/**
 * The network that a GGUF file holds: what its keys and tensors say, and what llama.cpp computes for its architecture whatever
 * they say. The inverse of what is written (export/gguf), by the same table (architectures/).
 */
import { LqError } from '../../errors';
import type { NativeExperts, NativeLanguageModelConfig } from '../../native';
import { numericDescriptor } from '../formats/descriptors';
import { quoteName } from '../../text';
import type { CheckpointIndex } from '../types';
import type { Architecture, Stated } from './architectures/architecture';
import { architectureNamed } from './architectures/registry';
import { llama3Of, ROPE_FREQS } from './rope';
import { isArray, type GgufMetadata, type GgufValue } from './values';

type Parts = NativeLanguageModelConfig;
type Source = Pick<CheckpointIndex, 'byName' | 'descriptors' | 'file'>;

/** Sizes are 32-bit numbers in native code, and layers are listed. */
const LARGEST = 2 ** 31 - 1;
const MOST_LAYERS = 100_000;

/** Typed reads of an architecture's keys. */
class Keys {
  constructor(
    private readonly metadata: GgufMetadata,
    private readonly architecture: string,
    private readonly file: string,
  ) {}

  refuse(what: string): never {
    throw new LqError('unsupported-model', `${what}.`, { file: this.file });
  }

  private value(key: string): GgufValue | undefined {
    return this.metadata.get(`${this.architecture}.${key}`);
  }

  has(key: string): boolean {
    return this.value(key) !== undefined;
  }

  /** A finite number; absent is `fallback`, or an error without one. */
  number(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (value === undefined) return this.refuse(`The file has no ${this.architecture}.${key}`);
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    if (isArray(value)) return this.refuse(`Layers of different sizes (${this.architecture}.${key}) are not supported`);
    return this.refuse(`${this.architecture}.${key} is not a number: ${quoteName(String(value))}`);
  }

  /** A whole number from 1 on. */
  count(key: string, fallback?: number, most = LARGEST): number {
    const value = this.number(key, fallback);
    if (Number.isInteger(value) && value >= 1 && value <= most) return value;
    return this.refuse(`${this.architecture}.${key} is ${value}, not a whole number from 1 to ${most}`);
  }

  flag(key: string): boolean {
    return this.value(key) === true;
  }

  text(key: string): string | undefined {
    const value = this.value(key);
    return typeof value === 'string' ? value : undefined;
  }
}

/**
 * The network of a file as the runtime has it.
 * @throws LqError 'unsupported-model' naming the architecture that is not known, or the key that is missing or says what cannot
 *   be run.
 */
export function ggufNetwork(metadata: GgufMetadata, source: Source): NativeLanguageModelConfig {
  const name = metadata.get('general.architecture');
  const architecture = architectureNamed(name);
  if (architecture === undefined)
    throw new LqError(
      'unsupported-model',
      `The architecture ${typeof name === 'string' ? quoteName(name) : '(not named)'} of GGUF cannot be run.`,
      { file: source.file },
    );
  const keys = new Keys(metadata, architecture.name, source.file);
  const sizes = sizesOf(keys, architecture, source);
  const said = { ...sizes, ...layersOf(keys, sizes, architecture), ...statedParts<Parts>(keys, architecture) };
  const { computes = {}, normOffset } = architecture;
  const parts = {
    ...(normOffset !== undefined && { normOffset }),
    ...(typeof computes === 'function' ? computes(said) : computes),
  };
  const network = { ...said, ...parts };
  const rmsEps = keys.number(`attention.${network.norm === 'layer' ? 'layer_norm_epsilon' : 'layer_norm_rms_epsilon'}`);
  return { ...network, rmsEps };
}

/** What every architecture says in the same way. */
function sizesOf(keys: Keys, architecture: Architecture, { byName, descriptors }: Source): Parts {
  const heads = keys.count('attention.head_count');
  const hidden = keys.count('embedding_length');
  const kvHeads = keys.count('attention.head_count_kv', heads);
  if (heads % kvHeads !== 0) keys.refuse(`${heads} attention heads cannot share ${kvHeads} key-value heads`);
  const headDim = keys.count('attention.key_length', Math.floor(hidden / heads));
  if (keys.count('attention.value_length', headDim) !== headDim)
    keys.refuse('Values of another length than keys (attention.value_length) are not supported');
  const rotaryDim = keys.count('rope.dimension_count', headDim);
  const maxPositions = keys.count('context_length');
  const vocab = byName.get('token_embd.weight')?.shape[0];
  const has = (stem: string): boolean => ['0', '1'].some(layer => byName.has(`blk.${layer}.${stem}.bias`));
  const activation = architecture.activations?.[0] ?? 'silu';
  const pairs = Math.floor(rotaryDim / 2);
  const factors = (tensor: string): number[] | undefined => {
    const found = numericDescriptor(descriptors.get(tensor), 'F32');
    if (found !== undefined && (found.length !== pairs || !found.every(value => value > 0)))
      return keys.refuse(`${tensor} has ${found.length} values that are no divisors of ${pairs} frequencies`);
    return found;
  };
  const ropeTheta = keys.number('rope.freq_base', 10_000);
  return {
    layers: keys.count('block_count', undefined, MOST_LAYERS),
    ...{ hidden, heads, kvHeads, headDim, maxPositions },
    // Where every layer is routed and no expert is shared there is no MLP that has a width.
    intermediate:
      keys.number('expert_count', 0) > 0 ? keys.number('feed_forward_length', 0) : keys.count('feed_forward_length'),
    vocab: vocab ?? keys.count('vocab_size'),
    rmsEps: 0,
    ropeTheta,
    rope: ropeOf(keys, factors, { maxPositions, headDim, ropeTheta }),
    ...(rotaryDim !== headDim && { rotaryDim }),
    slidingWindow: 0,
    attentionBias: has('attn_q') || has('attn_qkv'),
    outputBias: has('attn_output'),
    mlpBias: has('ffn_up'),
    qkNorm: architecture.tensors?.qkNorm !== undefined && byName.has(`blk.0.${architecture.tensors.qkNorm}.weight`),
    tiedEmbeddings: architecture.tied === true || !byName.has('output.weight'),
    ...(activation !== 'silu' && { activation }),
  };
}

function statedParts<Of extends object>(
  keys: Keys,
  {
    states = {},
    always = [],
  }: { readonly states?: Partial<Record<keyof Of, Stated>>; readonly always?: readonly string[] },
): Partial<Of> {
  const found = Object.entries(states as Record<string, Stated>).flatMap(
    ([part, { key, as }]): [string, number | boolean][] => {
      if (as === 'flag') return keys.has(key) ? [[part, keys.flag(key)]] : [];
      if (!keys.has(key) && !always.includes(part)) return [];
      const value = keys.number(key);
      return [[part, as === 'inverse' ? 1 / value : value]];
    },
  );
  return Object.fromEntries(found) as Partial<Of>;
}

function ropeOf(
  keys: Keys,
  factors: (tensor: string) => number[] | undefined,
  { maxPositions, headDim, ropeTheta }: Pick<Parts, 'maxPositions' | 'headDim' | 'ropeTheta'>,
): Parts['rope'] {
  const divisors = factors(ROPE_FREQS);
  if (divisors) {
    const known = llama3Of(divisors, headDim, ropeTheta);
    // Of any other divisors: the same ones at every length.
    return (
      known ?? {
        ...{ type: 'longrope', originalMaxPositions: maxPositions, attentionFactor: 1 },
        ...{ shortFactors: divisors, longFactors: divisors },
      }
    );
  }
  const [shortFactors, longFactors] = [factors('rope_factors_short.weight'), factors('rope_factors_long.weight')];
  if (shortFactors && longFactors)
    return {
      type: 'longrope',
      originalMaxPositions: keys.count('rope.scaling.original_context_length', maxPositions),
      attentionFactor: keys.number('rope.scaling.attn_factor', 1),
      ...{ shortFactors, longFactors },
    };
  // Before there was a type there was a linear scale.
  const type = keys.text('rope.scaling.type') ?? (keys.has('rope.scale_linear') ? 'linear' : 'none');
  const factor = keys.number('rope.scaling.factor', keys.number('rope.scale_linear', 0));
  if (type === 'none' || factor === 0) return { type: 'default' };
  if (type === 'linear') return { type, factor };
  if (type !== 'yarn') return keys.refuse(`The rotary scaling ${quoteName(type)} is not supported`);
  return {
    ...{ type, factor },
    originalMaxPositions: keys.count('rope.scaling.original_context_length', maxPositions),
    attentionFactor: (1 + 0.1 * Math.log(factor)) * keys.number('rope.scaling.attn_factor', 1),
    betaFast: keys.number('rope.scaling.yarn_beta_fast', 32),
    betaSlow: keys.number('rope.scaling.yarn_beta_slow', 1),
  };
}

/** Windows, rotation and experts, layer by layer where they differ. */
function layersOf(
  keys: Keys,
  { layers, maxPositions, intermediate }: Parts,
  { windowPeriod, windowOptional, rotary = () => 'standard', experts }: Architecture,
): Partial<Parts> {
  const stated = windowPeriod === undefined ? 0 : keys.number('attention.sliding_window', 0);
  const size = !windowOptional && stated >= maxPositions ? 0 : stated;
  const windows = Array.from({ length: layers }, (_, i) => ((i + 1) % (windowPeriod ?? 1) === 0 ? 0 : size));
  const kinds = windows.map((window, layer) => rotary(layer, window > 0));
  const count = keys.number('expert_count', 0);
  if (count === 0) {
    if (size === 0 && kinds.every(kind => kind === 'standard')) return {};
    return { layerTraits: windows.map((window, i) => ({ window, rotary: kinds[i]! })) };
  }
  if (experts === undefined) return keys.refuse('A mixture of experts is not supported for this architecture');
  const width = experts.width === 'feed_forward_length' ? intermediate : keys.count(experts.width);
  const wide = experts.shared === undefined ? 0 : keys.number(experts.shared, 0);
  const shared = experts.shared === 'expert_shared_count' ? wide * width : wide;
  const dense = experts.dense === undefined ? 0 : keys.number(experts.dense, 0);
  const widths = windows.map((_, layer) => (layer < dense ? intermediate : shared));
  return {
    experts: {
      score: 'softmax',
      ...experts.computes,
      ...statedParts<NativeExperts>(keys, experts),
      count: keys.count('expert_count'),
      topK: keys.count('expert_used_count', undefined, count),
      intermediate: width,
    },
    intermediate: Math.max(...widths),
    layerTraits: windows.map((window, i) => ({ window, rotary: kinds[i]!, width: widths[i]!, routed: i >= dense })),
  };
}
