/**
 * The safetensors container: a u64 little-endian header length, a JSON header, then the tensors' bytes back to back.
 * Format: https://huggingface.co/docs/safetensors. Headers are distrusted completely: what the reference implementation
 * refuses is refused here, and beyond it duplicate names, dimensions past 2^53 and white space before the header.
 */
import { LqError, type ErrorCode } from '../errors';
import { dtypeBits, isDtype } from '../dtypes';
import { foreignContent } from './foreign';
import { JsonCursor } from './json';
import { baseName } from '../format';
import { quoteName } from '../text';
import type { TensorInfo } from './types';
import type { Dtype } from '../dtypes';
import type { FileSystem } from '../files/types';

/** Bytes of the length in front of the header. */
export const LENGTH_BYTES = 8;
/** The reference's limit. */
export const MAX_HEADER_BYTES = 100_000_000;
export const METADATA_KEY = '__metadata__';

/** Read together with the length; most headers fit, so that a file is opened with one read. */
const FIRST_READ = 16 * 1024;
const U64_LIMIT = 1n << 64n;

/** A validated header. */
export interface SafetensorsHeader {
  readonly fileBytes: number;
  /** Without the 8 bytes of its length. */
  readonly headerBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  /** In order of their bytes. */
  readonly tensors: readonly TensorInfo[];
}

/**
 * Reads and validates the header of a file.
 * @throws LqError naming file and tensor, see `parseHeader`, and saying what the file is when it is known to be
 *   something else; 'file-not-found'; 'io'.
 */
export async function readHeader(files: FileSystem, file: string): Promise<SafetensorsHeader> {
  const stat = await files.stat(file);
  if (stat === undefined) throw new LqError('file-not-found', `${file} does not exist`, { file });
  if (stat.directory) throw new LqError('not-a-checkpoint', `${file} is a folder`, { file });
  const start = await files.read(file, 0, Math.min(stat.bytes, FIRST_READ));
  try {
    const headerBytes = headerLength(start, stat.bytes, file);
    let header = start.subarray(LENGTH_BYTES, LENGTH_BYTES + headerBytes);
    if (header.length < headerBytes) header = await files.read(file, LENGTH_BYTES, headerBytes);
    return parseHeader(header, stat.bytes, file);
  } catch (error) {
    throw explained(error, start, stat.bytes, file);
  }
}

const NO_HEADER: ReadonlySet<ErrorCode> = new Set([
  'header-too-small',
  'header-too-large',
  'header-length',
  'header-json',
] as const);

/** A file without a header is something else, mostly: then its content is the reason to give. */
function explained(error: unknown, start: Uint8Array, bytes: number, file: string): unknown {
  if (!(error instanceof LqError) || !NO_HEADER.has(error.code)) return error;
  const what = foreignContent(start, bytes);
  return what === undefined
    ? error
    : new LqError(error.code, `${baseName(file)} is no safetensors file: it is ${what}`, { file });
}

/** The header's length from a file's first bytes, checked against the file's size. */
export function headerLength(start: Uint8Array, fileBytes: number, file: string): number {
  if (start.length < LENGTH_BYTES) {
    throw new LqError('header-too-small', `${fileBytes} bytes are too few for a safetensors header`, { file });
  }
  const length = new DataView(start.buffer, start.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new LqError('header-too-large', `header of ${length} bytes; at most ${MAX_HEADER_BYTES} are allowed`, {
      file,
    });
  }
  if (Number(length) + LENGTH_BYTES > fileBytes) {
    throw new LqError('header-length', `header of ${length} bytes in a file of ${fileBytes}: truncated`, { file });
  }
  return Number(length);
}

/**
 * Parses the header's bytes and validates them against the file's size.
 * @throws LqError 'header-json', 'header-entry', 'unknown-dtype', 'duplicate-tensor', 'tensor-overflow', 'tensor-size',
 *   'tensor-overlap', 'tensor-hole' or 'file-coverage'.
 */
export function parseHeader(header: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const text = decodeText(header, file);
  if (text[0] !== '{') throw new LqError('header-json', "the header does not start with '{'", { file });

  let tensor: string | undefined;
  const json = new JsonCursor(text, (kind, message) =>
    kind === 'syntax'
      ? new LqError('header-json', `the header is not valid JSON: ${message}`, { file })
      : entryError('header-entry', tensor ?? METADATA_KEY, message, file),
  );
  let metadata: Map<string, string> | undefined;
  const entries = new Map<string, Entry>();
  json.object(name => {
    if (name === METADATA_KEY) {
      tensor = undefined;
      if (metadata) throw new LqError('header-entry', `${METADATA_KEY} appears twice`, { file });
      metadata = readMetadata(json, file);
      return;
    }
    tensor = name;
    if (entries.has(name)) throw entryError('duplicate-tensor', name, 'appears twice in the header', file);
    entries.set(name, readEntry(json, name, file));
  });
  json.end();

  const dataStart = LENGTH_BYTES + header.length;
  const tensors = layOut(entries, dataStart, file);
  const last = tensors.at(-1);
  const end = last ? last.offset + last.bytes : dataStart;
  if (end !== fileBytes) {
    const what =
      end > fileBytes ? `${end - fileBytes} bytes are missing: truncated` : `${fileBytes - end} are left over`;
    throw new LqError('file-coverage', `the header describes ${end} bytes, the file has ${fileBytes}; ${what}`, {
      file,
    });
  }
  return { fileBytes, headerBytes: header.length, metadata: Object.fromEntries(metadata ?? []), tensors };
}

interface Entry {
  dtype: Dtype;
  shape: (number | bigint)[];
  begin: number | bigint;
  end: number | bigint;
}

function entryError(code: ErrorCode, tensor: string, message: string, file: string): LqError {
  return new LqError(code, `${quoteName(tensor)}: ${message}`, tensor === METADATA_KEY ? { file } : { file, tensor });
}

function decodeText(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new LqError('header-json', 'the header is not valid UTF-8', { file });
  }
}

function readMetadata(json: JsonCursor, file: string): Map<string, string> {
  const metadata = new Map<string, string>();
  if (json.peek() === 'n' && json.literal('null')) return metadata;
  json.object(key => {
    if (metadata.has(key)) throw entryError('header-entry', METADATA_KEY, `${quoteName(key)} appears twice`, file);
    metadata.set(key, json.string());
  });
  return metadata;
}

function readEntry(json: JsonCursor, name: string, file: string): Entry {
  let dtype: Dtype | undefined;
  let shape: (number | bigint)[] | undefined;
  let offsets: (number | bigint)[] | undefined;
  const once = (seen: unknown, key: string): void => {
    if (seen !== undefined) throw entryError('header-entry', name, `${key} appears twice`, file);
  };
  const integers = (): (number | bigint)[] => {
    const values: (number | bigint)[] = [];
    json.array(() => values.push(json.unsigned()));
    return values;
  };
  json.object(key => {
    if (key === 'dtype') {
      once(dtype, key);
      const text = json.string();
      if (!isDtype(text)) throw entryError('unknown-dtype', name, `unknown dtype ${quoteName(text)}`, file);
      dtype = text;
    } else if (key === 'shape') {
      once(shape, key);
      shape = integers();
    } else if (key === 'data_offsets') {
      once(offsets, key);
      offsets = integers();
    } else json.skip();
  });
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    const missing = dtype === undefined ? 'dtype' : shape === undefined ? 'shape' : 'data_offsets';
    throw entryError('header-entry', name, `${missing} is missing`, file);
  }
  if (offsets.length !== 2) throw entryError('header-entry', name, 'data_offsets must be two numbers', file);
  return { dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

/** Checks that the entries' ranges follow one another without gap or overlap and hold what dtype and shape say. */
function layOut(entries: ReadonlyMap<string, Entry>, dataStart: number, file: string): TensorInfo[] {
  const ordered = [...entries].sort(([, a], [, b]) => compare(a.begin, b.begin) || compare(a.end, b.end));
  const tensors: TensorInfo[] = [];
  let expected: number | bigint = 0;
  let previous = 'the start of the data';
  for (const [name, { dtype, shape, begin, end }] of ordered) {
    if (end < begin) throw entryError('tensor-size', name, `its range ${begin}..${end} runs backwards`, file);
    if (begin > expected) {
      throw entryError('tensor-hole', name, `${difference(begin, expected)} bytes after ${previous} are unused`, file);
    }
    if (begin < expected) throw entryError('tensor-overlap', name, `its range begins inside ${previous}`, file);
    const bytes = exactBytes(dtype, shape);
    if (bytes === 'overflow')
      throw entryError('tensor-overflow', name, `shape [${shape.join(', ')}] overflows 64 bits`, file);
    if (bytes === 'fraction') {
      throw entryError(
        'tensor-size',
        name,
        `shape [${shape.join(', ')}] of ${dtype} is not a whole number of bytes`,
        file,
      );
    }
    const range = difference(end, begin);
    if (range !== bytes) {
      throw entryError(
        'tensor-size',
        name,
        `shape [${shape.join(', ')}] of ${dtype} is ${bytes} bytes, its range ${range}`,
        file,
      );
    }
    const large = shape.find(size => typeof size === 'bigint');
    if (large !== undefined) throw entryError('tensor-overflow', name, `dimension ${large} is beyond 2^53`, file);
    const offset = dataStart + Number(begin);
    tensors.push({ name, dtype, shape: shape as number[], file, offset, bytes: Number(bytes) });
    expected = end;
    previous = quoteName(name);
  }
  return tensors;
}

/** Exact; a number where both are, so that equal values of either kind compare equal with `===`. */
function difference(a: number | bigint, b: number | bigint): number | bigint {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return exact(BigInt(a) - BigInt(b));
}

const exact = (value: bigint): number | bigint => (value <= Number.MAX_SAFE_INTEGER ? Number(value) : value);

const compare = (a: number | bigint, b: number | bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** Bytes of a tensor with every intermediate product checked against 2^64, in the reference's order. */
function exactBytes(dtype: Dtype, shape: readonly (number | bigint)[]): number | bigint | 'overflow' | 'fraction' {
  let bits = dtypeBits(dtype);
  // Every partial product is exact when the product of the non-zero dimensions is.
  let bound = bits;
  for (const size of shape) {
    bits *= Number(size);
    bound *= Number(size) || 1;
  }
  if (bound <= Number.MAX_SAFE_INTEGER) return bits % 8 === 0 ? bits / 8 : 'fraction';
  let product = 1n;
  for (const size of shape) {
    product *= BigInt(size);
    if (product >= U64_LIMIT) return 'overflow';
  }
  product *= BigInt(dtypeBits(dtype));
  if (product >= U64_LIMIT) return 'overflow';
  return product % 8n === 0n ? exact(product / 8n) : 'fraction';
}
