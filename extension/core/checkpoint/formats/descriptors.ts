/** Tiny tensors whose content, not header, says what a packed weight is. They are read when a checkpoint is opened. */
import { LqError } from '../../errors';
import type { CheckpointProblem, TensorInfo } from '../types';
import type { FileSystem } from '../../files/types';

/**
 * bitsandbytes' quant_state, compressed-tensors' weight_shape, shape, bits and groups of HQQ, the alpha of an adapter, GGUF's
 * rotary scaling.
 */
const DESCRIPTOR =
  /\.(?:quant_state\.bitsandbytes__\w+|weight_shape|shape|nbits|group_size|alpha)$|^rope_(?:freqs|factors_(?:long|short))\.weight$/;
const MAX_BYTES = 4096;
/** Files open at once. */
const CONCURRENCY = 16;

export async function readDescriptors(
  files: FileSystem,
  tensors: readonly TensorInfo[],
  problems: CheckpointProblem[],
): Promise<Map<string, Uint8Array>> {
  const wanted = tensors.filter(({ name, bytes }) => bytes > 0 && bytes <= MAX_BYTES && DESCRIPTOR.test(name));
  const contents = new Map<string, Uint8Array>();
  const readers = Array.from({ length: Math.min(CONCURRENCY, wanted.length) }, async () => {
    for (let tensor = wanted.pop(); tensor; tensor = wanted.pop()) {
      try {
        contents.set(tensor.name, await files.read(tensor.file, tensor.offset, tensor.bytes));
      } catch (error) {
        const { code, message } = LqError.from(error);
        problems.push({ severity: 'error', code, message, file: tensor.file, tensor: tensor.name });
      }
    }
  });
  await Promise.all(readers);
  return contents;
}

/** The JSON in a U8 tensor, or undefined. */
export function jsonDescriptor(bytes: Uint8Array | undefined): unknown {
  if (!bytes) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Elements of an integer or float tensor as numbers; undefined for types no descriptor uses. */
export function numericDescriptor(bytes: Uint8Array | undefined, dtype: TensorInfo['dtype']): number[] | undefined {
  const read = READERS[dtype];
  if (!bytes || !read) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / read.size) }, (_, i) => read.at(view, i * read.size));
}

const READERS: Partial<Record<TensorInfo['dtype'], { size: number; at: (view: DataView, offset: number) => number }>> =
  {
    I32: { size: 4, at: (view, offset) => view.getInt32(offset, true) },
    I64: { size: 8, at: (view, offset) => Number(view.getBigInt64(offset, true)) },
    F32: { size: 4, at: (view, offset) => view.getFloat32(offset, true) },
    F64: { size: 8, at: (view, offset) => view.getFloat64(offset, true) },
    BF16: { size: 2, at: (view, offset) => bfloat16(view.getUint16(offset, true)) },
    F16: { size: 2, at: (view, offset) => float16(view.getUint16(offset, true)) },
  };

function bfloat16(bits: number): number {
  const word = new DataView(new ArrayBuffer(4));
  word.setUint32(0, bits * 2 ** 16);
  return word.getFloat32(0);
}

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14);
}
