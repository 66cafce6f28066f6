/** A second reader of packed checkpoints, written from FORMAT.md with plain arithmetic, to hold the native one against. */
import { readFileSync } from 'node:fs';

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}
interface Description {
  factors: 'nf8' | 'bf16' | 'fp32';
  books: Record<string, number[]>;
  matrices: Record<string, { shape: [number, number]; option: StoredOption }>;
}
/** The paper's options alone. */
interface StoredOption {
  grid: { kind: 'nf'; bits: number };
  scales: Omit<Config, 'b0'>;
  rank: number;
}
interface Config {
  b0: number;
  b1: number;
  B0: number;
  B1: number;
}

export const bf16 = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;

function fp16(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Every packed matrix of one file, decoded in double precision, row-major. */
export function decodeFile(file: string): Map<string, Float64Array> {
  const content = readFileSync(file);
  const start = 8 + Number(content.readBigUInt64LE());
  const header = JSON.parse(content.subarray(8, start).toString()) as Record<string, Entry>;
  const metadata = header.__metadata__ as unknown as Record<string, string>;
  const { factors, books, matrices } = JSON.parse(metadata.lq_studio!) as Description;

  const raw = (name: string): { dtype: string; bytes: Buffer } => {
    const { dtype, data_offsets } = header[name]!;
    return { dtype, bytes: content.subarray(start + data_offsets[0], start + data_offsets[1]) };
  };
  const floats = (name: string): Float64Array => {
    const { dtype, bytes } = raw(name);
    if (dtype === 'F32') return Float64Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
    const value = dtype === 'BF16' ? bf16 : fp16;
    return Float64Array.from({ length: bytes.length / 2 }, (_, i) => value(bytes.readUInt16LE(2 * i)));
  };
  const field = (bytes: Buffer, bits: number, i: number): number => {
    let value = 0;
    for (let k = 0; k < bits; k++) {
      const j = i * bits + k;
      value |= ((bytes[j >> 3]! >> (j & 7)) & 1) << k;
    }
    return value;
  };
  const quantized = (prefix: string, { b0, b1, B0, B1 }: Config, count: number): Float64Array => {
    const levels = books[`nf${b0}`]!;
    const [codes, scales] = [raw(`${prefix}.codes`).bytes, raw(`${prefix}.scales`).bytes];
    const groups = floats(`${prefix}.groups`);
    const offset = floats(`${prefix}.offset`)[0]!;
    return Float64Array.from({ length: count }, (_, i) => {
      const block = Math.floor(i / B0);
      const scale = offset + (field(scales, b1, block) * groups[Math.floor(block / B1)]!) / (2 ** b1 - 1);
      return levels[field(codes, b0, i)]! * scale;
    });
  };
  const factor = (name: string, count: number): Float64Array =>
    factors === 'nf8' ? quantized(name, { b0: 8, b1: 8, B0: 64, B1: 256 }, count) : floats(name);

  return new Map(
    Object.entries(matrices).map(([name, { shape, option }]) => {
      const [rows, cols] = shape;
      const { rank, grid, scales } = option;
      const values = quantized(`${name}.lq`, { b0: grid.bits, ...scales }, rows * cols);
      if (rank === 0) return [name, values];
      const l1 = factor(`${name}.lq.l1`, rows * rank);
      const l2 = factor(`${name}.lq.l2`, rank * cols);
      for (let row = 0; row < rows; row++)
        for (let k = 0; k < rank; k++) {
          const left = l1[row * rank + k]!;
          for (let col = 0; col < cols; col++) values[row * cols + col]! += left * l2[k * cols + col]!;
        }
      return [name, values];
    }),
  );
}
