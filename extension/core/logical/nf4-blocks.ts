/** NF4 of bitsandbytes as encoded matrices: scales of one level, whole blocks a row. */
import type { LogicalTensor } from '../checkpoint/types';
import type { EncodedSource } from '../native';
import { BITSANDBYTES_NF4 } from '../options/books/bitsandbytes';

/** The weight [rows, cols], or undefined for one that is stored otherwise: nested scales, FP4, blocks across rows. */
export function nf4Blocks({ format, name, dtype, shape, parts }: LogicalTensor): EncodedSource | undefined {
  const size = Number(/^NF4 g(\d+)$/.exec(dtype)?.[1]);
  if (format !== 'bitsandbytes' || shape.length !== 2 || !Number.isInteger(size)) return undefined;
  const [rows, cols] = shape as readonly [number, number];
  const codes = parts.find(part => part.name === name);
  const scales = parts.find(part => part.name === `${name}.absmax`);
  const fits =
    cols % size === 0 &&
    codes?.dtype === 'U8' &&
    codes.bytes === (rows * cols) / 2 &&
    scales?.dtype === 'F32' &&
    scales.bytes === (4 * rows * cols) / size;
  if (!fits) return undefined;
  const rangeOf = ({ file, offset, bytes }: typeof codes) => ({ path: file, offset, bytes });
  return {
    kind: 'encoded',
    rows,
    cols,
    option: {
      transform: 'none',
      grid: { kind: 'nf', bits: 4 },
      scales: { kind: 'searched', size, type: 'fp32' },
      rounding: 'nearest',
      rank: 0,
      book: BITSANDBYTES_NF4,
    },
    seed: 0,
    parts: { codes: rangeOf(codes), group_scales: rangeOf(scales) },
    highFirst: true,
  };
}
