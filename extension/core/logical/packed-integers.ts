/** Symmetric integers of compressed-tensors (pack-quantized) and of our MLX files as encoded matrices: codes are stored as ours are. */
import type { LogicalTensor, TensorInfo } from '../checkpoint/types';
import type { Dtype } from '../dtypes';
import type { ByteRange, EncodedSource, ScaleType } from '../native';

const SCALE_TYPES: Partial<Record<Dtype, ScaleType>> = { BF16: 'bf16', F16: 'fp16', F32: 'fp32' };
const WORD = 32;
/** In the metadata of MLX files whose biases are -2^(bits-1) times their scales, which headers do not show. */
export const MLX_SYMMETRIC = { biases: 'symmetric' } as const;

const rangeOf = ({ file, offset, bytes }: TensorInfo): ByteRange => ({ path: file, offset, bytes });

/**
 * The weight [rows, cols] of a module, or undefined for one that is stored otherwise: with zero points, reordered columns,
 * rows that do not end with a word, or groups of several lengths.
 * @param symmetric whether the file of an MLX weight says `MLX_SYMMETRIC`
 */
export function packedIntegers({ format, shape, parts }: LogicalTensor, symmetric = false): EncodedSource | undefined {
  const isMlx = format === 'mlx' && symmetric;
  if ((format !== 'compressed-tensors' && !isMlx) || shape.length !== 2) return undefined;
  const part = (suffix: string): TensorInfo | undefined => parts.find(({ name }) => name.endsWith(suffix));
  const [packed, scale] = isMlx ? [part('.weight'), part('.scales')] : [part('.weight_packed'), part('.weight_scale')];
  const others = ['.weight_zero_point', '.weight_g_idx', '.weight_global_scale', '.input_scale'];
  if (
    !packed ||
    !scale ||
    packed.dtype !== (isMlx ? 'U32' : 'I32') ||
    others.some(suffix => part(suffix) !== undefined)
  )
    return undefined;
  const [rows, cols] = shape as readonly [number, number];
  const bits = ((packed.shape.at(-1) ?? 0) * WORD) / cols;
  const groups = scale.shape.at(-1) ?? 0;
  const type = SCALE_TYPES[scale.dtype as Dtype];
  const fits =
    Number.isInteger(bits) &&
    bits >= 2 &&
    bits <= 8 &&
    scale.shape.length === 2 &&
    scale.shape[0] === rows &&
    groups > 0 &&
    cols % groups === 0;
  if (type === undefined || !fits) return undefined;
  return {
    kind: 'encoded',
    rows,
    cols,
    option: {
      transform: 'none',
      grid: { kind: 'int', bits, symmetric: true },
      scales: { kind: 'searched', size: cols / groups, type },
      rounding: 'nearest',
      rank: 0,
    },
    seed: 0,
    parts: { codes: rangeOf(packed), group_scales: rangeOf(scale) },
  };
}
