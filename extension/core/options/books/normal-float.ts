import { inverseNormal } from './inverse-normal';
import type { CodeBookKind } from './book';

/** Probability of the outermost level; the reference code's value (LQ-LoRA, after QLoRA's NF4). */
const OFFSET = 0.9677083;

/**
 * NormalFloat: quantiles of a standard normal, scaled to [-1, 1]. There are 2^(bits-1) - 1 negative levels, an exact 0 and
 * 2^(bits-1) positive ones. At 4 bits it is the NF4 of QLoRA to 1.1e-7.
 */
export const normalFloat: CodeBookKind = {
  label: 'NF',
  levels(bits) {
    const half = 2 ** (bits - 1);
    const scale = inverseNormal(OFFSET);
    const negative = Array.from({ length: half - 1 }, (_, i) => {
      return inverseNormal(1 - OFFSET + (i * (OFFSET - 0.5)) / (half - 1)) / scale;
    });
    const positive = Array.from({ length: half }, (_, i) => {
      return inverseNormal(0.5 + ((i + 1) * (OFFSET - 0.5)) / half) / scale;
    });
    // The quantile of 1 - OFFSET differs from -scale in the last bit only; absmax must be exactly representable.
    if (negative.length > 0) negative[0] = -1;
    return Float64Array.from([...negative, 0, ...positive]);
  },
  storedBytes: () => 0,
};
