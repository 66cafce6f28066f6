import type { SpectrumReport } from './types';

/** Shares of the energy that a report gives the rank for. */
const ENERGY_SHARES = [0.5, 0.9, 0.95, 0.99] as const;

/** Below this distance from the chord a curve is taken for straight. */
const LEAST_BEND = 0.05;

/**
 * What a singular spectrum says about a low-rank part.
 * @param values Singular values, largest first; possibly not all of them.
 * @param norm Frobenius norm of the matrix, whose square is the sum of squares of all its singular values.
 */
export function spectrumReport(name: string, values: ArrayLike<number>, norm: number): SpectrumReport {
  const list = Array.from(values);
  return {
    name,
    values: list,
    energy: norm * norm,
    rankFor: ENERGY_SHARES.map(share => ({ share, rank: rankFor(list, norm, share) })),
    suggestedRank: suggestedRank(list),
  };
}

function rankFor(values: readonly number[], norm: number, share: number): number {
  if (norm === 0) return 0;
  let kept = 0;
  for (let rank = 0; rank <= values.length; rank++) {
    // The sum may miss the energy by rounding when all the values are there.
    if (kept >= share * (1 - 1e-9)) return rank;
    // Relative to the norm, for squares of very small values are 0.
    kept += ((values[rank] ?? 0) / norm) ** 2;
  }
  return -1;
}

/**
 * The knee: where the curve of values is farthest below the chord between its ends (Satopaa et al., "Finding a Kneedle in
 * a Haystack", 2011). Values before the knee stand out of the bulk and are what a low-rank part should take. Rounded to a
 * power of two; 0 when the spectrum is straight or bulges, as that of a random matrix does.
 */
function suggestedRank(values: readonly number[]): number {
  const last = values.length - 1;
  const [first, final] = [values[0] ?? 0, values[last] ?? 0];
  if (last < 2 || !(first > final)) return 0;
  let knee = 0;
  let bend = LEAST_BEND;
  values.forEach((value, i) => {
    const below = 1 - i / last - (value - final) / (first - final);
    if (below > bend) [knee, bend] = [i, below];
  });
  return knee === 0 ? 0 : 2 ** Math.round(Math.log2(knee));
}
