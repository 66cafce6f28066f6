import { serializeHeader, type TensorSpec } from '../../../extension/core/checkpoint/serialize';

/** A safetensors file with the given header text, whatever it says, followed by `dataBytes` zero bytes. */
export function rawFile(header: string | Uint8Array, dataBytes = 0, statedLength?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, statedLength ?? BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

/** A valid file of zero bytes with these tensors. */
export function validFile(tensors: readonly TensorSpec[], metadata?: Record<string, string>): Uint8Array {
  const header = serializeHeader(tensors, metadata);
  const file = new Uint8Array(header.fileBytes);
  file.set(header.bytes);
  return file;
}

export const f32 = (name: string, ...shape: number[]): TensorSpec => ({ name, dtype: 'F32', shape });
export const bf16 = (name: string, ...shape: number[]): TensorSpec => ({ name, dtype: 'BF16', shape });
