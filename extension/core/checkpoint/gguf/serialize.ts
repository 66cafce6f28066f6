/** Writing the header of a GGUF file, version 3, little-endian. */
import { elementCount } from '../../dtypes';
import { LqError } from '../../errors';
import { quoteName } from '../../text';
import { ggufTypeNamed, type GgufType } from './types';

/** A key's value with the type it is written in. */
export type GgufField =
  | { readonly type: 'u32' | 'i32' | 'u16' | 'f32' | 'u64'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'i32s' | 'f32s'; readonly value: readonly number[] };

export interface GgufTensorSpec {
  readonly name: string;
  readonly type: GgufType['name'];
  /** Outermost first. */
  readonly shape: readonly number[];
}

/** Where a tensor goes: an absolute byte position in its file. */
export interface GgufTensorPlace extends GgufTensorSpec {
  readonly offset: number;
  readonly bytes: number;
}

export interface SerializedGguf {
  /** Everything before the first tensor's bytes. */
  readonly bytes: Uint8Array;
  readonly tensors: readonly GgufTensorPlace[];
  /** Of the whole file; every tensor is padded to the alignment. */
  readonly fileBytes: number;
}

export const ALIGNMENT = 32;

export const padded = (offset: number): number => Math.ceil(offset / ALIGNMENT) * ALIGNMENT;

/** Bytes of a tensor. @throws LqError 'tensor-size' for rows that are no whole blocks. */
export function ggufTensorBytes({ name, type, shape }: GgufTensorSpec): number {
  const found = ggufTypeNamed(type);
  if (!found) throw new LqError('unsupported-dtype', `${quoteName(name)}: GGUF has no type ${type}`, { tensor: name });
  if ((shape.at(-1) ?? 1) % found.type.weights !== 0)
    throw new LqError(
      'tensor-size',
      `${quoteName(name)}: rows of ${shape.at(-1)} weights are no whole blocks of ${found.type.weights} (${type})`,
      { tensor: name },
    );
  return (elementCount(shape) / found.type.weights) * found.type.bytes;
}

/** The header of a file with these keys and tensors, and where each tensor's bytes go. */
export function serializeGguf(
  fields: ReadonlyMap<string, GgufField>,
  tensors: readonly GgufTensorSpec[],
): SerializedGguf {
  const out = new Writer();
  out.raw(new TextEncoder().encode('GGUF'));
  out.u32(3);
  out.u64(tensors.length);
  out.u64(fields.size);
  for (const [key, field] of fields) {
    out.string(key);
    out.field(field);
  }
  let end = 0;
  const places = tensors.map(tensor => {
    const place = { ...tensor, offset: padded(end), bytes: ggufTensorBytes(tensor) };
    end = place.offset + place.bytes;
    return place;
  });
  for (const { name, type, shape, offset } of places) {
    out.string(name);
    out.u32(shape.length);
    for (const size of [...shape].reverse()) out.u64(size);
    out.u32(ggufTypeNamed(type)!.number);
    out.u64(offset);
  }
  out.pad(padded(out.length));
  const bytes = out.finish();
  return {
    bytes,
    tensors: places.map(place => ({ ...place, offset: bytes.length + place.offset })),
    fileBytes: bytes.length + padded(end),
  };
}

/** Bytes that grow. */
class Writer {
  private buffer = new Uint8Array(1 << 16);
  private view = new DataView(this.buffer.buffer);
  length = 0;

  private grow(bytes: number): number {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.buffer.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.buffer);
      this.buffer = larger;
      this.view = new DataView(larger.buffer);
    }
    return at;
  }

  raw(bytes: Uint8Array): void {
    const at = this.grow(bytes.length);
    this.buffer.set(bytes, at);
  }

  u32(value: number): void {
    const at = this.grow(4);
    this.view.setUint32(at, value, true);
  }

  i32(value: number): void {
    const at = this.grow(4);
    this.view.setInt32(at, value, true);
  }

  f32(value: number): void {
    const at = this.grow(4);
    this.view.setFloat32(at, value, true);
  }

  u64(value: number): void {
    const at = this.grow(8);
    this.view.setBigUint64(at, BigInt(value), true);
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  pad(length: number): void {
    this.grow(length - this.length);
  }

  private array(itemType: number, count: number): void {
    this.u32(9);
    this.u32(itemType);
    this.u64(count);
  }

  field(field: GgufField): void {
    switch (field.type) {
      case 'u16': {
        this.u32(2);
        const at = this.grow(2);
        this.view.setUint16(at, field.value, true);
        return;
      }
      case 'u32':
        this.u32(4);
        return this.u32(field.value);
      case 'i32':
        this.u32(5);
        return this.i32(field.value);
      case 'f32':
        this.u32(6);
        return this.f32(field.value);
      case 'bool': {
        this.u32(7);
        const at = this.grow(1);
        this.view.setUint8(at, field.value ? 1 : 0);
        return;
      }
      case 'string':
        this.u32(8);
        return this.string(field.value);
      case 'u64':
        this.u32(10);
        return this.u64(field.value);
      case 'strings':
        this.array(8, field.value.length);
        return field.value.forEach(text => this.string(text));
      case 'i32s':
        this.array(5, field.value.length);
        return field.value.forEach(value => this.i32(value));
      case 'f32s':
        this.array(6, field.value.length);
        return field.value.forEach(value => this.f32(value));
    }
  }

  finish(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }
}
