import type { CheckpointIndex, StorageFormat, TensorInfo } from '../../checkpoint/types';

/** What recognising needs of a checkpoint: headers, configuration and the tiny descriptive tensors. */
export type FormatSource = Pick<
  CheckpointIndex,
  'tensors' | 'byName' | 'shards' | 'config' | 'adapterConfig' | 'gguf' | 'descriptors'
>;

/** A logical weight found in several stored tensors. */
export interface PackedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  /** What a person would call its type: `INT4 g128`, `NF4 g64`. */
  readonly dtype: string;
  readonly format: StorageFormat;
  /** Where it is not the product of `shape`. */
  readonly parameters?: number;
  /** Whether it is known to be stored [in, out], or not; absent where its place in the network says. */
  readonly transposed?: boolean;
  /** Of low-rank adapters. */
  readonly rank?: number;
  readonly parts: readonly TensorInfo[];
}

/**
 * Looks whether a stored tensor is the one that gives a format away, and gathers the parts that belong to it.
 * Names and shapes must both fit; a tensor that only looks alike stays a dense tensor.
 */
export type Recogniser = (tensor: TensorInfo, source: FormatSource) => PackedWeight | undefined;

/** A format, and the names that give it away. */
export interface Format {
  /** Last segments of such names (`qweight`), or their endings from the last underscore (`_blocks`). */
  readonly endings: readonly string[];
  readonly recognise: Recogniser;
}

/** The name without `suffix`, or undefined. */
export function stem(name: string, suffix: string): string | undefined {
  return name.length > suffix.length && name.endsWith(suffix) ? name.slice(0, -suffix.length) : undefined;
}

/** Those of `base + suffix` that are stored, in that order. */
export function partsOf(source: FormatSource, base: string, suffixes: readonly string[]): TensorInfo[] {
  return suffixes.flatMap(suffix => source.byName.get(base + suffix) ?? []);
}

const QUANTIZATION_KEYS = ['quantization_config', 'compression_config'];

/**
 * `quantization_config` of config.json, written by every tool that packs weights; in models of several parts it may be
 * in the configuration of one of them (`text_config`).
 */
export function quantizationConfig(source: FormatSource): Readonly<Record<string, unknown>> {
  const configs = [source.config, ...Object.values(source.config ?? {}).map(asRecord)];
  for (const config of configs) {
    for (const key of QUANTIZATION_KEYS) {
      const found = asRecord(config?.[key]);
      if (found) return found;
    }
  }
  return {};
}

/** Bits of a weight as the configuration states them, under any of the names tools use. */
export function statedBits(config: Readonly<Record<string, unknown>>): number | undefined {
  const bits = asCount(config.bits) ?? asCount(config.num_bits) ?? asCount(config.w_bit) ?? asCount(config.nbits);
  return bits !== undefined && bits <= 8 ? bits : undefined;
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** A positive integer, as group sizes and ranks are. */
export function asCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

/** The sizes of a matrix, or undefined for another rank. */
export function matrixShape(tensor: TensorInfo | undefined): readonly [number, number] | undefined {
  return tensor?.shape.length === 2 ? [tensor.shape[0]!, tensor.shape[1]!] : undefined;
}

/** The last two sizes of a matrix or of a stack of them, as experts are stored, and the sizes before. */
export function stackShape(
  tensor: TensorInfo | undefined,
): { stack: readonly number[]; rows: number; columns: number } | undefined {
  if (!tensor || tensor.shape.length < 2) return undefined;
  return { stack: tensor.shape.slice(0, -2), rows: tensor.shape.at(-2)!, columns: tensor.shape.at(-1)! };
}

/** ` g128`, or nothing when one scale covers a whole row. */
export function groupLabel(columns: number, groups: number): string {
  return groups > 1 ? ` g${Math.ceil(columns / groups)}` : '';
}
