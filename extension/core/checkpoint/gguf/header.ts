/**
 * The GGUF container: magic, version, counts, key-value pairs, tensor infos, padding, data. Format:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and ggml/src/gguf.cpp, whose refusals are all made here; beyond
 * them bytes after the last tensor are an error.
 */
import { LqError } from '../../errors';
import { quoteName } from '../../text';
import type { FileSystem } from '../../files/types';
import type { TensorInfo } from '../types';
import { HeaderCursor } from './cursor';
import { readMetadata } from './metadata';
import { ggufType, type GgufType } from './types';
import type { GgufMetadata, GgufValue } from './values';

const MAGIC = 0x4655_4747;
const VERSIONS: readonly number[] = [2, 3];
const DEFAULT_ALIGNMENT = 32;
const LONGEST_NAME = 65_535;
const MAX_RANK = 4;
/** Least bytes of a key-value pair and of a tensor info. */
const LEAST_PAIR = 8 + 1 + 4 + 1;
const LEAST_INFO = 8 + 1 + 4 + 4 + 8;

/** A validated header. */
export interface GgufHeader {
  readonly fileBytes: number;
  /** Up to the start of the data. */
  readonly headerBytes: number;
  readonly version: number;
  readonly alignment: number;
  readonly metadata: GgufMetadata;
  /** In order of their bytes. Shapes are outermost first, as in safetensors: the reverse of the file's. */
  readonly tensors: readonly TensorInfo[];
}

/**
 * Reads and validates the header of a file; arrays of its metadata are passed over, not read.
 * @throws LqError 'file-not-found', 'not-a-checkpoint', 'header-too-small', 'header-length', 'header-entry', 'unknown-dtype',
 *   'duplicate-tensor', 'tensor-overflow', 'tensor-size', 'tensor-overlap', 'tensor-hole', 'file-coverage' or 'io', naming
 *   file and tensor.
 */
export async function readGgufHeader(files: FileSystem, file: string): Promise<GgufHeader> {
  const stat = await files.stat(file);
  if (stat === undefined) throw new LqError('file-not-found', `${file} does not exist`, { file });
  if (stat.directory) throw new LqError('not-a-checkpoint', `${file} is a folder`, { file });
  const cursor = new HeaderCursor(files, file, stat.bytes);
  if (stat.bytes < 24) cursor.fail('header-too-small', `${stat.bytes} bytes are too few for a GGUF header`);
  const magic = await cursor.u32('the magic');
  if (magic !== MAGIC) cursor.fail('header-entry', 'the file does not start with "GGUF"');
  const version = await cursor.u32('the version');
  if (!VERSIONS.includes(version)) {
    const swapped = version !== 0 && version % 0x1_0000 === 0;
    cursor.fail(
      'header-entry',
      swapped
        ? 'the file is big-endian, which is not supported'
        : `GGUF version ${version} is not supported; ${VERSIONS.join(' and ')} are`,
    );
  }
  const tensorCount = countOf(cursor, await cursor.u64('the tensor count'), LEAST_INFO, 'tensors');
  const pairCount = countOf(cursor, await cursor.u64('the key count'), LEAST_PAIR, 'keys');
  const metadata = await readMetadata(cursor, pairCount);
  const alignment = alignmentOf(cursor, metadata.get('general.alignment'));
  const infos: Info[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const info = await readInfo(cursor, `tensor ${i + 1} of ${tensorCount}`);
    if (names.has(info.name))
      cursor.fail('duplicate-tensor', `${quoteName(info.name)}: appears twice in the header`, info.name);
    names.add(info.name);
    infos.push(info);
  }
  const dataStart = padded(cursor.offset, alignment);
  const tensors = layOut(cursor, infos, dataStart, alignment);
  return { fileBytes: stat.bytes, headerBytes: dataStart, version, alignment, metadata, tensors };
}

const padded = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment;

function countOf(cursor: HeaderCursor, count: number | bigint, least: number, what: string): number {
  if (typeof count === 'bigint' || count * least > cursor.fileBytes)
    cursor.fail('header-length', `${count} ${what} do not fit into a file of ${cursor.fileBytes} bytes`);
  return count;
}

function alignmentOf(cursor: HeaderCursor, value: GgufValue | undefined): number {
  if (value === undefined) return DEFAULT_ALIGNMENT;
  // A power of two, found without 32-bit arithmetic.
  if (typeof value !== 'number' || value < 1 || value > 2 ** 31 || !Number.isInteger(Math.log2(value)))
    cursor.fail('header-entry', `general.alignment is not a power of two`);
  return value;
}

interface Info {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgufType;
  /** From the start of the data. */
  readonly offset: number;
  readonly bytes: number;
}

async function readInfo(cursor: HeaderCursor, which: string): Promise<Info> {
  const name = await cursor.string(`the name of ${which}`, LONGEST_NAME);
  if (name === '') cursor.fail('header-entry', `the name of ${which} is empty`);
  const rank = await cursor.u32(`the rank of ${quoteName(name)}`);
  if (rank > MAX_RANK)
    cursor.fail('header-entry', `${quoteName(name)}: rank ${rank}; at most ${MAX_RANK} is allowed`, name);
  const dims: (number | bigint)[] = [];
  for (let i = 0; i < rank; i++) dims.push(await cursor.u64(`the shape of ${quoteName(name)}`));
  const number = await cursor.u32(`the type of ${quoteName(name)}`);
  const type = ggufType(number);
  if (!type) cursor.fail('unknown-dtype', `${quoteName(name)}: unknown tensor type ${number}`, name);
  const offset = await cursor.u64(`the offset of ${quoteName(name)}`);
  const size = dims.reduce<bigint>((product, dim) => product * BigInt(dim), 1n);
  const [first = 1] = dims;
  const shape = `[${[...dims].reverse().join(', ')}]`;
  if (size > BigInt(Number.MAX_SAFE_INTEGER) || dims.some(dim => typeof dim === 'bigint'))
    cursor.fail('tensor-overflow', `${quoteName(name)}: shape ${shape} is beyond 2^53`, name);
  if (Number(first) % type.weights !== 0)
    cursor.fail(
      'tensor-size',
      `${quoteName(name)}: rows of ${first} weights are no whole blocks of ${type.weights} (${type.name})`,
      name,
    );
  if (typeof offset === 'bigint')
    cursor.fail('tensor-overflow', `${quoteName(name)}: offset ${offset} is beyond 2^53`, name);
  const bytes = (Number(size) / type.weights) * type.bytes;
  return { name, shape: (dims as number[]).reverse(), type, offset, bytes };
}

/** Checks that the tensors follow one another, each padded to the alignment, and end with the file. */
function layOut(cursor: HeaderCursor, infos: readonly Info[], dataStart: number, alignment: number): TensorInfo[] {
  const tensors: TensorInfo[] = [];
  let expected = 0;
  let previous = 'the start of the data';
  for (const { name, shape, type, offset, bytes } of infos) {
    const place = `${quoteName(name)}: its offset ${offset}`;
    if (offset % alignment !== 0)
      cursor.fail('tensor-overlap', `${place} is not a multiple of the alignment ${alignment}`, name);
    if (offset < expected) cursor.fail('tensor-overlap', `${place} lies before the end of ${previous}`, name);
    if (offset > expected)
      cursor.fail('tensor-hole', `${place} leaves ${offset - expected} bytes after ${previous} unused`, name);
    const end = offset + bytes;
    if (dataStart + end > cursor.fileBytes) {
      const missing = dataStart + end - cursor.fileBytes;
      cursor.fail('file-coverage', `${quoteName(name)}: ${missing} of its ${bytes} bytes are missing: truncated`, name);
    }
    tensors.push({ name, dtype: type.name, shape, file: cursor.file, offset: dataStart + offset, bytes });
    expected = padded(end, alignment);
    previous = quoteName(name);
  }
  const left = cursor.fileBytes - (dataStart + expected);
  if (left > 0)
    cursor.fail('file-coverage', `the header describes ${dataStart + expected} bytes; ${left} are left over`);
  return tensors;
}
