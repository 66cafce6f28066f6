/**
 * config.json as the language-model runtime needs it. Semantics follow transformers 5; whatever would compute something
 * else is refused by name, and what is not known is named in a warning (families/keys.ts).
 */
import { LqError } from '../errors';
import type { NativeLanguageModelConfig } from '../native';
import { PACKED_FORMAT } from '../packed/format';
import { ConfigReader, MOST_LAYERS } from './config-reader';
import { readActivation } from './families/activations';
import type { ExpertLayers } from './families/experts';
import type { Family } from './families/family';
import { COMMON_KEYS, INERT_KEYS } from './families/keys';
import { missingPart } from './families/missing';
import { FAMILIES, resolveFamily } from './families/registry';
import { readRope } from './rope';

/** Values of `model_type` that can be run. */
const SUPPORTED_FAMILIES: readonly string[] = [...FAMILIES.values()].map(({ type }) => type);

export interface Architecture {
  readonly config: NativeLanguageModelConfig;
  /** Whether masked tokens are predicted; the mask's id is the tokenizer's. */
  readonly masked: boolean;
  /** What a reader of a figure should know, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * The runtime's configuration.
 * @param config parsed config.json, or undefined when the checkpoint has none
 * @param file where it was read, for errors
 * @param context tokens that will be run at a time: a window as wide is none, more than the model's positions is warned of
 * @throws LqError 'unsupported-model' naming the architecture or feature.
 */
export function languageModelConfig(
  config: Readonly<Record<string, unknown>> | undefined,
  file: string,
  context = Infinity,
): Architecture {
  if (config === undefined)
    throw new LqError('unsupported-model', `A language model is run from its config.json, and there is no ${file}.`, {
      file,
    });
  const resolved = resolveFamily(config);
  if (resolved === undefined) refuseArchitecture(config, file);
  const { family } = resolved;
  const reader = usualConfig(resolved.config, family, file);
  refuseNulls(reader, family);
  refuseOtherMathematics(reader, resolved.config);
  const activation = readActivation(reader, ...(family.activation ?? (['hidden_act', 'silu'] as const)));
  const layers = reader.count('num_hidden_layers', undefined, MOST_LAYERS);
  const hidden = reader.count('hidden_size');
  const heads = reader.count('num_attention_heads');
  const maxPositions = reader.count('max_position_embeddings');
  const kvHeads = keyValueHeads(reader, family, heads);
  const headDim = reader.count('head_dim', family.headDim ?? Math.floor(hidden / heads));
  if (heads % kvHeads !== 0) reader.refuse(`${heads} attention heads cannot share ${kvHeads} key-value heads`);
  refuseGrowingQueries(reader, family);
  const { warnings, rotatedShare, ...rotary } = readRope(reader, maxPositions, family);
  const experts = family.experts?.read(reader, layers);
  const parts = family.parts?.(reader);
  const rotaryDim = rotatedShare < 1 ? rotatedDimensions(reader, headDim, rotatedShare) : undefined;
  const traits = layerTraits(family, reader, layers, rotary.ropeLocalTheta !== undefined, context, experts);
  refuseOddRotation(reader, traits.layerTraits, parts?.rotaryDim ?? rotaryDim ?? headDim);
  refuseLongContext(parts ?? {}, context, file);
  return {
    config: {
      layers,
      hidden,
      heads,
      kvHeads,
      headDim,
      intermediate: experts ? Math.max(...experts.widths) : reader.count('intermediate_size'),
      vocab: reader.count('vocab_size'),
      maxPositions,
      rmsEps: reader.number(...(family.epsilon ?? (['rms_norm_eps', 1e-6] as const))),
      ...rotary,
      ...(rotaryDim !== undefined && { rotaryDim }),
      ...traits,
      ...(experts?.routed.includes(true) && { experts: experts.experts }),
      ...(activation !== 'silu' && { activation }),
      qkNorm: typeof family.qkNorm === 'boolean' ? family.qkNorm : family.qkNorm(reader),
      ...parts,
      ...family.biases(reader),
      tiedEmbeddings: reader.has('tie_word_embeddings') ? reader.flag('tie_word_embeddings') : (family.tied ?? false),
    },
    masked: family.masked ?? false,
    warnings: [
      ...unknownKeys(resolved.config, family),
      ...warnings,
      ...warnOfCode(reader, family),
      ...warnOfContext(context, maxPositions),
    ],
  };
}

/** Keys that transformers cannot take as null. */
function refuseNulls(reader: ConfigReader, { neverNull = [] }: Family): void {
  for (const key of ['hidden_act', 'tie_word_embeddings', 'rms_norm_eps', ...neverNull])
    if (reader.stated(key) && !reader.has(key)) reader.refuse(`${key} in config.json is null`);
}

/** Queries scaled by their position are some families' alone. */
function refuseGrowingQueries(reader: ConfigReader, { growingQueries = false }: Family): void {
  const asked = ['rope_scaling', 'rope_parameters'].some(key => reader.object(key)?.has('llama_4_scaling_beta'));
  if (asked && !growingQueries)
    reader.refuse('Queries that are scaled by their position (llama_4_scaling_beta) are not supported');
}

/** Dimensions are rotated in pairs. */
function refuseOddRotation(
  reader: ConfigReader,
  layers: NativeLanguageModelConfig['layerTraits'],
  dimensions: number,
): void {
  const rotates = layers?.some(({ rotary }) => rotary !== 'none') ?? true;
  if (rotates && dimensions % 2 !== 0) reader.refuse(`An odd head size of ${dimensions} has no rotary embedding`);
}

const warnOfCode = (reader: ConfigReader, { type }: Family): string[] =>
  reader.has('auto_map')
    ? [`config.json asks for Python code of its own (auto_map), which is not run; ${type} is computed.`]
    : [];

export const warnOfContext = (context: number, maxPositions: number): string[] =>
  Number.isFinite(context) && context > maxPositions
    ? [`A context of ${context} tokens is beyond the model's max_position_embeddings of ${maxPositions}.`]
    : [];

function refuseArchitecture(config: Readonly<Record<string, unknown>>, file: string): never {
  const reader: ConfigReader = new ConfigReader(config, file);
  const architecture = Array.isArray(config['architectures'])
    ? String(config['architectures'][0])
    : reader.text('model_type', '');
  const missing = missingPart(config);
  const why = missing === undefined ? '' : `: its network has ${missing}, for which there is no part here`;
  reader.refuse(
    `The architecture ${architecture || '(not named)'} cannot be run, which a text needs${why}. Without one (--plain) it is compressed all the same. ${SUPPORTED_FAMILIES.join(', ')} can be run`,
  );
}

/** The configuration under the usual names, with what the family takes for keys that are null or absent. */
function usualConfig(
  config: Readonly<Record<string, unknown>>,
  { aliases = {}, defaults, fixed }: Family,
  file: string,
): ConfigReader {
  const renamed = { ...config };
  for (const [usual, own] of Object.entries(aliases)) if (own in config) renamed[usual] = config[own];
  const usual = new ConfigReader(renamed, file);
  const missing = Object.entries(defaults?.(usual) ?? {}).filter(
    ([key]) => renamed[key] === undefined || renamed[key] === null,
  );
  return new ConfigReader({ ...renamed, ...Object.fromEntries(missing), ...fixed?.(usual) }, file);
}

/**
 * A table of learned positions has an end.
 * @throws LqError 'unsupported-model'.
 */
export function refuseLongContext(
  { embedding }: Pick<NativeLanguageModelConfig, 'embedding'>,
  context: number,
  file: string,
): void {
  const { positions = 0, positionOffset = 0 } = embedding ?? {};
  const most = positions - positionOffset;
  if (positions > 0 && Number.isFinite(context) && context > most)
    throw new LqError(
      'unsupported-model',
      `A context of ${context} tokens is longer than the model's ${most} learned positions.`,
      { file },
    );
}

function keyValueHeads(reader: ConfigReader, { kvHeadsDefault }: Family, heads: number): number {
  if (kvHeadsDefault === 'always') return heads;
  if (typeof kvHeadsDefault === 'function') return kvHeadsDefault(reader);
  const asHeads =
    kvHeadsDefault === 'null-or-absent' || (kvHeadsDefault === 'null' && reader.stated('num_key_value_heads'));
  return reader.count('num_key_value_heads', asHeads ? heads : undefined);
}

/**
 * Affine weights of MLX, experts in MXFP4, 4 bits of bitsandbytes, EXL3, or pack-quantized of compressed-tensors with activations and cache as they are: the network then computes with the weights'
 * values, and one whose values cannot be read is refused where it is looked up.
 */
function isWeightOnly(quantization: unknown): boolean {
  const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isRecord(quantization)) return false;
  if (quantization.quant_method === undefined) return quantization.mode === 'affine';
  if (quantization.quant_method === 'mxfp4' || quantization.quant_method === 'exl3') return true;
  if (quantization.quant_method === 'bitsandbytes') return quantization.load_in_4bit === true;
  if (quantization.quant_method !== 'compressed-tensors') return false;
  const plain = ['kv_cache_scheme', 'transform_config', 'sparsity_config'].every(
    key => !isRecord(quantization[key]) || Object.keys(quantization[key]).length === 0,
  );
  const groups = isRecord(quantization.config_groups) ? Object.values(quantization.config_groups) : [];
  return (
    plain &&
    quantization.format === 'pack-quantized' &&
    groups.every(group => isRecord(group) && !isRecord(group.input_activations) && !isRecord(group.output_activations))
  );
}

function refuseOtherMathematics(reader: ConfigReader, config: Readonly<Record<string, unknown>>): void {
  if (reader.has('is_causal') && !reader.flag('is_causal'))
    reader.refuse('Attention in both directions (is_causal: false) is not supported');
  if (reader.has('per_layer_config')) reader.refuse('Layers that differ (per_layer_config) are not supported');
  if (reader.has('configuration_files'))
    reader.refuse('A configuration in other files by version (configuration_files) is not supported');
  const quantization = config.quantization_config;
  const method = reader.object('quantization_config')?.text('quant_method', 'another tool');
  if (method !== undefined && method !== PACKED_FORMAT && !isWeightOnly(quantization))
    reader.refuse(`Weights quantised by ${method} cannot be run`);
}

/** Dimensions of a head that are rotated: the share, rounded down as transformers does. */
function rotatedDimensions(reader: ConfigReader, headDim: number, share: number): number {
  const rotated = Math.floor(headDim * share);
  if (rotated < 2 || rotated % 2 !== 0) reader.refuse(`Rotating ${rotated} dimensions of a head is not supported`);
  return rotated;
}

/**
 * What layers attend to and how they turn: one window where all agree, else by layer. A window that no token reaches the
 * end of is none. Where windowed layers have a rotary embedding of their own, it is theirs.
 */
function layerTraits(
  family: Family,
  reader: ConfigReader,
  layers: number,
  local: boolean,
  context: number,
  experts?: ExpertLayers,
): Pick<NativeLanguageModelConfig, 'slidingWindow' | 'layerTraits'> {
  const windows = family.windows(reader, layers);
  const rotary = family.rotary?.(reader, layers) ?? windows.map(window => (local && window > 0 ? 'local' : 'standard'));
  const effective = windows.map(window => (window >= context ? 0 : window));
  const alike = experts === undefined && new Set(effective).size <= 1 && rotary.every(kind => kind === 'standard');
  return {
    slidingWindow: alike ? (effective[0] ?? 0) : 0,
    ...(!alike && {
      layerTraits: effective.map((window, layer) => ({
        window,
        rotary: rotary[layer]!,
        ...(experts && { width: experts.widths[layer]!, routed: experts.routed[layer]! }),
      })),
    }),
  };
}

function unknownKeys(config: Readonly<Record<string, unknown>>, family: Family): string[] {
  const known = new Set([...COMMON_KEYS, ...INERT_KEYS, ...family.keys, ...Object.values(family.aliases ?? {})]);
  const unknown = Object.keys(config).filter(key => !known.has(key) && config[key] !== null);
  if (unknown.length === 0) return [];
  return [`config.json has keys that are not known for ${family.type} and were not used: ${unknown.join(', ')}.`];
}
