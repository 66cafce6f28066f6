/**
 * The stored parts of a matrix under an option: the one description that sizes, the packed format and the native module's
 * destinations all follow. FORMAT.md in core/packed says what each holds, byte by byte; native/include/lq/encode.h says it
 * for native code.
 */
import { dtypeBits, elementCount, type Dtype } from '../dtypes';
import type { EncodedPart } from '../native';

/** One part: a tensor that is stored under the matrix's prefix and this name. */
export interface Part {
  readonly name: EncodedPart;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** A power of two that keeps fp16 scales within their range. */
export const MULTIPLIER: Part = { name: 'multiplier', dtype: 'F32', shape: [1] };

/** `count` fields of `bits` bits, packed without gaps and padded to a byte at the end. */
export const fieldPart = (name: EncodedPart, count: number, bits: number): Part => ({
  name,
  dtype: 'U8',
  shape: [Math.ceil((count * bits) / 8)],
});

export const bytesOfPart = ({ dtype, shape }: Part): number => (elementCount(shape) * dtypeBits(dtype)) / 8;
