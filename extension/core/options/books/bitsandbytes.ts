/**
 * The levels of NF4 in bitsandbytes 0.50 (csrc/kernels.cu, functional.py get_4bit_type): its kernels have these, whatever a file
 * says. They are the normal floats of 4 bits to 1.1e-7.
 */
import type { NativeBook } from '../../native';

export const BITSANDBYTES_NF4: NativeBook = {
  bits: 4,
  levels: Float32Array.of(
    ...[-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334],
    ...[-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224],
    ...[0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1],
  ),
};
