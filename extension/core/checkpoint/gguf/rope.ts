/** How llama.cpp stores Llama 3's rotary scaling: what each frequency is divided by. */
import type { NativeLanguageModelConfig } from '../../native';

/** Frequencies of the rotary embedding divided by these, one for each pair. */
export const ROPE_FREQS = 'rope_freqs.weight';

interface Scaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

/** The scaling that has these divisors, when it is Llama 3's: 3.1 to 3.3 differ in the factor alone, which is the largest of them. */
export function llama3Of(
  divisors: readonly number[],
  headDim: number,
  theta: number,
): NativeLanguageModelConfig['rope'] | undefined {
  const factor = Math.max(...divisors);
  const scaling = { factor, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };
  if (headDim !== 2 * divisors.length) return undefined;
  const expected = llama3Divisors(headDim, theta, scaling);
  return divisors.every((d, i) => Math.abs(d / expected[i]! - 1) < 1e-4) ? { type: 'llama3', ...scaling } : undefined;
}

/** The divisors of Llama 3's scaling (transformers, `_compute_llama3_parameters`), one for each pair of a head. */
export function llama3Divisors(
  headDim: number,
  theta: number,
  { factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: Scaling,
): number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < originalMaxPositions / highFreqFactor) return 1;
    if (wavelength > originalMaxPositions / lowFreqFactor) return factor;
    const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
