/** Key-value pairs of a GGUF header: scalars as they are, long arrays by where they lie. */
import { quoteName } from '../../text';
import type { FileSystem } from '../../files/types';
import type { HeaderCursor } from './cursor';
import type { GgufArray, GgufScalar, GgufValue } from './values';

const ARRAY = 9;
const STRING = 8;
const BOOL = 7;

interface ScalarType {
  readonly name: string;
  readonly bytes: number;
  read(view: DataView, at: number): number | bigint;
}

const scalar = (name: string, bytes: number, read: ScalarType['read']): ScalarType => ({ name, bytes, read });

/** Value types by their number (gguf_type of ggml/include/gguf.h), strings and arrays apart. */
const SCALARS: ReadonlyMap<number, ScalarType> = new Map([
  [0, scalar('u8', 1, (view, at) => view.getUint8(at))],
  [1, scalar('i8', 1, (view, at) => view.getInt8(at))],
  [2, scalar('u16', 2, (view, at) => view.getUint16(at, true))],
  [3, scalar('i16', 2, (view, at) => view.getInt16(at, true))],
  [4, scalar('u32', 4, (view, at) => view.getUint32(at, true))],
  [5, scalar('i32', 4, (view, at) => view.getInt32(at, true))],
  [6, scalar('f32', 4, (view, at) => view.getFloat32(at, true))],
  [BOOL, scalar('bool', 1, (view, at) => view.getUint8(at))],
  [10, scalar('u64', 8, (view, at) => exact(view.getBigUint64(at, true)))],
  [11, scalar('i64', 8, (view, at) => exact(view.getBigInt64(at, true)))],
  [12, scalar('f64', 8, (view, at) => view.getFloat64(at, true))],
]);

const exact = (value: bigint): number | bigint =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(value) : value;

/** Of the format's specification. */
const LONGEST_KEY = 65_535;

/** @throws LqError 'header-entry', 'header-length'. */
export async function readMetadata(cursor: HeaderCursor, count: number): Promise<Map<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = await cursor.string(`key ${i + 1} of ${count}`, LONGEST_KEY);
    if (key === '') cursor.fail('header-entry', `key ${i + 1} of ${count} is empty`);
    if (metadata.has(key)) cursor.fail('header-entry', `the key ${quoteName(key)} appears twice`);
    const type = await cursor.u32(`the type of ${quoteName(key)}`);
    metadata.set(key, await readValue(cursor, key, type));
  }
  return metadata;
}

async function readValue(cursor: HeaderCursor, key: string, type: number): Promise<GgufValue> {
  const what = `the value of ${quoteName(key)}`;
  if (type === STRING) return cursor.string(what);
  if (type === ARRAY) return readArray(cursor, key);
  const scalarType = SCALARS.get(type);
  if (!scalarType) cursor.fail('header-entry', `${quoteName(key)} has the unknown value type ${type}`);
  const value = scalarType.read(await cursor.data(scalarType.bytes, what), 0);
  if (type !== BOOL) return value;
  if (value !== 0 && value !== 1) cursor.fail('header-entry', `${quoteName(key)} is a bool of value ${value}`);
  return value === 1;
}

async function readArray(cursor: HeaderCursor, key: string): Promise<GgufArray> {
  const what = `the array ${quoteName(key)}`;
  const type = await cursor.u32(`the item type of ${what}`);
  const count = await cursor.u64(`the count of ${what}`);
  if (type === ARRAY) cursor.fail('header-entry', `${what} holds arrays, which no reader supports`);
  const scalarType = SCALARS.get(type);
  if (!scalarType && type !== STRING) cursor.fail('header-entry', `${what} has the unknown item type ${type}`);
  const least = scalarType?.bytes ?? 8;
  if (typeof count === 'bigint' || count * least > cursor.fileBytes - cursor.offset)
    cursor.fail('header-length', `${what} of ${count} items is longer than the file: truncated`);
  const offset = cursor.offset;
  if (scalarType) cursor.skip(count * least, what);
  else await cursor.skipStrings(count, what);
  return { type: scalarType?.name ?? 'string', count, file: cursor.file, offset, bytes: cursor.offset - offset };
}

/** The items of an array. @throws LqError 'header-entry' for text that is no UTF-8, 'io'. */
export async function arrayItems(files: FileSystem, array: GgufArray): Promise<GgufScalar[]> {
  const bytes = await files.read(array.file, array.offset, array.bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scalarType = [...SCALARS.values()].find(({ name }) => name === array.type);
  if (scalarType) {
    const items = Array.from({ length: array.count }, (_, i) => scalarType.read(view, i * scalarType.bytes));
    return array.type === 'bool' ? items.map(item => item !== 0) : items;
  }
  // Bytes of tokens that end inside a character stand in some vocabularies: they become U+FFFD, as in llama.cpp's readers.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const items: string[] = [];
  for (let at = 0; items.length < array.count;) {
    const length = view.getUint32(at, true);
    items.push(decoder.decode(bytes.subarray(at + 8, at + 8 + length)));
    at += 8 + length;
  }
  return items;
}
