/**
 * Names and metadata of the packed LQ checkpoint, version 3. FORMAT.md in this folder specifies it for other programs; what
 * it says and what this file does must agree.
 */
import { dtypeBits } from '../dtypes';
import type { TensorSpec } from '../checkpoint/serialize';
import type { Dtype } from '../dtypes';
import { LqError } from '../errors';
import { nativeBook } from '../options/books/registry';
import { groupCount, NF8_FACTORS, paperOption, partBytes } from '../options/config';
import { optionFault, optionParts } from '../options/option';
import { SCALE_DTYPES } from '../options/scales/two-level';
import type { FactorStorage, Option } from '../options/types';
import type { QuantConfig } from '../native';

export const PACKED_VERSION = 3;
/** Knew the paper's options alone, and described them as a book and a configuration. */
const FIRST_VERSION = 1;
/** Value of `format` in `__metadata__`, and `quant_method` in config.json. */
export const PACKED_FORMAT = 'lq-studio';
/** Key of `__metadata__` that holds the JSON of a `ShardDescription`. */
const DESCRIPTION_KEY = 'lq_studio';
export const SIDECAR_FILE = 'lq_studio.json';

const FILE_PREFIX = 'lq-';

/**
 * File name of a packed shard or index, from the source's. Loaders that look for `model.safetensors` then find nothing;
 * transformers would otherwise warn of the unknown quant_method and fill in random weights.
 */
export const packedFile = (name: string): string => name.replace(/[^\\/]*$/, base => FILE_PREFIX + base);

/** The name of the dense file that a packed one stands for. */
export const denseFile = (name: string): string =>
  name.replace(/[^\\/]*$/, base => (base.startsWith(FILE_PREFIX) ? base.slice(FILE_PREFIX.length) : base));

/** What a shard says about the matrices packed in it: enough to decode them without any other file. */
export interface ShardDescription {
  readonly version: number;
  readonly factors: FactorStorage;
  /** Seed of the signs that inputs are rotated with. */
  readonly seed: number;
  /** Levels of every book used, under `<book><bits>`, ascending fp32 values. */
  readonly books: Readonly<Record<string, readonly number[]>>;
  readonly matrices: Readonly<Record<string, MatrixDescription>>;
}

export interface MatrixDescription {
  /** Of the tensor it stands for. */
  readonly dtype: Dtype;
  readonly shape: readonly [number, number];
  /** That tensor is the transpose, [cols, rows]. */
  readonly transposed?: true;
  readonly option: Option;
}

const FACTOR_DTYPES = { bf16: 'BF16', fp32: 'F32' } as const;

/** What the names of a matrix's parts start with. */
export const partPrefix = (matrix: string): string => `${matrix}.lq`;

/** The four tensors of one quantised array of `count` elements, under `prefix`. */
function quantizedParts(prefix: string, config: QuantConfig, count: number): TensorSpec[] {
  const bytes = partBytes(config, count);
  return [
    { name: `${prefix}.codes`, dtype: 'U8', shape: [bytes.codes] },
    { name: `${prefix}.scales`, dtype: 'U8', shape: [bytes.scales] },
    { name: `${prefix}.groups`, dtype: SCALE_DTYPES[config.b2], shape: [groupCount(config, count)] },
    { name: `${prefix}.offset`, dtype: 'F32', shape: [1] },
  ];
}

/** All tensors that hold a matrix; their bytes sum to `packedBytes`. */
export function matrixParts(name: string, { shape, option }: MatrixDescription, factors: FactorStorage): TensorSpec[] {
  const [rows, cols] = shape;
  const prefix = partPrefix(name);
  const parts = optionParts(option, rows, cols).map(part => ({ ...part, name: `${prefix}.${part.name}` }));
  if (option.rank === 0) return parts;
  const factor = (part: 'l1' | 'l2', height: number, width: number): TensorSpec[] =>
    factors === 'nf8'
      ? quantizedParts(`${prefix}.${part}`, NF8_FACTORS, height * width)
      : [{ name: `${prefix}.${part}`, dtype: FACTOR_DTYPES[factors], shape: [height, width] }];
  return [...parts, ...factor('l1', rows, option.rank), ...factor('l2', option.rank, cols)];
}

/** Largest element first, as the reference writer of safetensors orders them, so that every tensor is aligned. */
export function aligned(tensors: readonly TensorSpec[]): TensorSpec[] {
  return [...tensors].sort((a, b) => dtypeBits(b.dtype) - dtypeBits(a.dtype));
}

/** The description of one shard's matrices, with the books that they, or these options, need. */
export function describeShard(
  matrices: ReadonlyMap<string, MatrixDescription>,
  factors: FactorStorage,
  seed: number,
  options: readonly Option[] = [...matrices.values()].map(({ option }) => option),
): ShardDescription {
  const names = new Set(options.flatMap(option => booksOf(option, factors)));
  return {
    version: PACKED_VERSION,
    factors,
    seed,
    books: Object.fromEntries([...names].sort().map(name => [name, [...nativeBook('nf', bookBits(name)).levels]])),
    matrices: Object.fromEntries(matrices),
  };
}

/** The books that a matrix and its factors are decoded with and that are not stored with it. */
function booksOf({ grid, rank }: Option, factors: FactorStorage): string[] {
  return [
    ...(grid.kind === 'nf' ? [`nf${grid.bits}`] : []),
    ...(rank > 0 && factors === 'nf8' ? [`nf${NF8_FACTORS.b0}`] : []),
  ];
}

const bookBits = (name: string): number => Number(/\d+$/.exec(name)?.[0]);

/** `__metadata__` of a shard. */
export function shardMetadata(description: ShardDescription): Record<string, string> {
  return { format: PACKED_FORMAT, [DESCRIPTION_KEY]: JSON.stringify(description) };
}

/**
 * The description in a shard's metadata, or undefined when the file is not of this format.
 * @throws LqError 'packed-format' for a version, field or value that is not of this format.
 */
export function parseShardMetadata(
  metadata: Readonly<Record<string, string>>,
  file: string,
): ShardDescription | undefined {
  const text = metadata[DESCRIPTION_KEY];
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new LqError('packed-format', `The ${DESCRIPTION_KEY} metadata of ${file} is not JSON.`, { file });
  }
  return shardDescription(value, file);
}

function shardDescription(value: unknown, file: string): ShardDescription {
  const check = (condition: boolean, what: string, tensor?: string): void => {
    if (!condition)
      throw new LqError('packed-format', `${file}: ${what}.`, { file, ...(tensor !== undefined && { tensor }) });
  };
  check(isRecord(value), 'the description is not an object');
  const { version, factors, books, matrices, seed = 0 } = value as Record<string, unknown>;
  check(
    Number.isInteger(version) && (version as number) >= FIRST_VERSION && (version as number) <= PACKED_VERSION,
    `packed version ${String(version)} is none of ${FIRST_VERSION} to ${PACKED_VERSION}, those known here`,
  );
  check(['nf8', 'bf16', 'fp32'].includes(factors as string), `unknown factor storage ${JSON.stringify(factors)}`);
  check(Number.isSafeInteger(seed) && (seed as number) >= 0, `the seed ${JSON.stringify(seed)} is not a whole number`);
  check(isRecord(books) && isRecord(matrices), 'books and matrices are not objects');

  for (const [name, levels] of Object.entries(books as Record<string, unknown>)) {
    const bits = bookBits(name);
    check(Array.isArray(levels) && levels.length === 2 ** bits, `book ${name} does not have 2^${bits} levels`);
    const ascending = (levels as unknown[]).every(
      (level, i, all) => Number.isFinite(level) && (i === 0 || (level as number) > (all[i - 1] as number)),
    );
    check(ascending, `the levels of book ${name} are not finite and ascending`);
  }
  const described: [string, MatrixDescription][] = [];
  for (const [name, matrix] of Object.entries(matrices as Record<string, unknown>)) {
    check(isRecord(matrix), 'a matrix is not an object', name);
    const { dtype, shape, transposed, option: stored } = matrix as Record<string, unknown>;
    check(typeof dtype === 'string' && /^(F64|F32|F16|BF16)$/.test(dtype), 'the dtype is not a float type', name);
    check(Array.isArray(shape) && shape.length === 2 && shape.every(isCount), 'the shape is not [rows, cols]', name);
    check(transposed === undefined || transposed === true, 'transposed is neither absent nor true', name);
    const option = version === FIRST_VERSION ? firstOption(stored) : stored;
    const problem = optionFault(option);
    check(problem === undefined, `${problem}`, name);
    for (const key of booksOf(option as Option, factors as FactorStorage))
      check(Object.hasOwn(books as object, key), `book ${key} is missing`, name);
    described.push([name, { ...(matrix as MatrixDescription), option: option as Option }]);
  }
  return { ...(value as ShardDescription), seed: seed as number, matrices: Object.fromEntries(described) };
}

/** An option as version 1 wrote it, or undefined: { book: 'nf', config: { b0, b1, b2, B0, B1 }, rank, rounding: 'nearest' }. */
function firstOption(stored: unknown): Option | undefined {
  if (!isRecord(stored) || !isRecord(stored.config) || stored.book !== 'nf' || stored.rounding !== 'nearest')
    return undefined;
  return paperOption(stored.config as unknown as QuantConfig, stored.rank as number);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
