/** NF4 of bitsandbytes as encoded matrices, whole blocks a row; scales of one level, or quantised themselves. */
import { jsonDescriptor } from '../checkpoint/formats/descriptors';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from '../checkpoint/types';
import type { ByteRange, EncodedSource } from '../native';
import { BITSANDBYTES_NF4 } from '../options/books/bitsandbytes';
import { asCount, asRecord } from './formats/recogniser';

const rangeOf = ({ file, offset, bytes }: TensorInfo): ByteRange => ({ path: file, offset, bytes });

/**
 * The weight [rows, cols], or undefined for one that is stored otherwise: FP4, blocks across rows.
 * @param descriptors what the state of its quantisation says
 */
export function nf4Blocks(
  { format, name, dtype, shape, parts }: LogicalTensor,
  descriptors: CheckpointIndex['descriptors'],
): EncodedSource | undefined {
  const [, stated, isNested] = /^NF4 g(\d+)( nested)?$/.exec(dtype) ?? [];
  const size = Number(stated);
  if (format !== 'bitsandbytes' || shape.length !== 2 || !Number.isInteger(size)) return undefined;
  const [rows, cols] = shape as readonly [number, number];
  const part = (suffix: string): TensorInfo | undefined => parts.find(each => each.name === `${name}${suffix}`);
  const [codes, scales] = [part(''), part('.absmax')];
  const count = (rows * cols) / size;
  if (cols % size !== 0 || codes?.dtype !== 'U8' || codes.bytes !== (rows * cols) / 2 || !scales) return undefined;
  const state = parts.find(each => each.name.startsWith(`${name}.quant_state.`));
  const nested =
    isNested === undefined
      ? undefined
      : nestedScales(
          count,
          scales,
          part('.nested_quant_map'),
          part('.nested_absmax'),
          state && descriptors.get(state.name),
        );
  if (isNested === undefined ? scales.dtype !== 'F32' || scales.bytes !== 4 * count : !nested) return undefined;
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
    parts: { codes: rangeOf(codes), ...(!nested && { group_scales: rangeOf(scales) }) },
    ...(nested && { nested }),
    highFirst: true,
  };
}

/** Scales that are quantised in blocks to 256 levels (bitsandbytes 0.50, functional.py, QuantState with `nested`). */
function nestedScales(
  count: number,
  codes: TensorInfo,
  map: TensorInfo | undefined,
  absmax: TensorInfo | undefined,
  state: Uint8Array | undefined,
): EncodedSource['nested'] {
  const { nested_blocksize: stated, nested_offset: offset } = asRecord(jsonDescriptor(state)) ?? {};
  const block = asCount(stated);
  const fits =
    block !== undefined &&
    typeof offset === 'number' &&
    codes.dtype === 'U8' &&
    codes.bytes === count &&
    map?.dtype === 'F32' &&
    map.bytes === 4 * 256 &&
    absmax?.dtype === 'F32' &&
    absmax.bytes === 4 * Math.ceil(count / block);
  return fits ? { codes: rangeOf(codes), map: rangeOf(map), absmax: rangeOf(absmax), block, offset } : undefined;
}
