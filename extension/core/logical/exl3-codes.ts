/** EXL3 of any of its three codes as encoded matrices. */
import type { LogicalTensor, TensorInfo } from '../checkpoint/types';
import type { EncodedSource } from '../native';

const BLOCK = 128;
const MOST_BITS = 8;

/** The weight [rows, cols], or undefined for one that is stored otherwise: signs packed in `su` and `sv`, odd sides. */
export function exl3Codes({ format, shape, parts }: LogicalTensor): EncodedSource | undefined {
  if (format !== 'exl3' || shape.length !== 2) return undefined;
  const [rows, cols] = shape as readonly [number, number];
  const part = (suffix: string): TensorInfo | undefined => parts.find(({ name }) => name.endsWith(suffix));
  const [codes, inputs, outputs] = [part('.trellis'), part('.suh'), part('.svh')];
  const bits = (codes?.shape[2] ?? 0) / 16;
  const isScales = (tensor: TensorInfo | undefined, count: number): tensor is TensorInfo =>
    tensor?.dtype === 'F16' && tensor.bytes === 2 * count;
  const fits = rows % BLOCK === 0 && cols % BLOCK === 0 && Number.isInteger(bits) && bits >= 1 && bits <= MOST_BITS;
  if (!codes || !fits || !isScales(inputs, cols) || !isScales(outputs, rows)) return undefined;
  const rangeOf = ({ file, offset, bytes }: TensorInfo) => ({ path: file, offset, bytes });
  return {
    kind: 'encoded',
    rows,
    cols,
    option: {
      transform: 'two-sided',
      grid: { kind: 'exl3', bits, code: part('.mcg') ? 'mcg' : part('.mul1') ? 'mul1' : '3inst' },
      scales: { kind: 'block' },
      rounding: 'nearest',
      rank: 0,
    },
    seed: 0,
    parts: { codes: rangeOf(codes), input_scales: rangeOf(inputs), row_scales: rangeOf(outputs) },
  };
}
