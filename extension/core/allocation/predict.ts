/**
 * What a plan's cost means in perplexity. Under K-FAC the cost is the second-order growth of the loss up to a factor, so the
 * loss that is added is nearly proportional to it; the rest is fitted on what was measured with plans of the same table.
 */
import { LqError } from '../errors';

/** A plan whose checkpoint was evaluated: its objective and the perplexity found. */
export interface MeasuredPlan {
  readonly objective: number;
  readonly perplexity: number;
}

/** What a prediction starts from; the same text and windows for all. */
export interface MeasuredPlans {
  /** Perplexity of the original. */
  readonly dense: number;
  readonly plans: readonly MeasuredPlan[];
}

export interface PredictedPerplexity {
  readonly perplexity: number;
  /** The band it is expected in. */
  readonly low: number;
  readonly high: number;
}

/**
 * Added loss grows as this power of the cost: between 4 and 2 bits, over which costs differ by a factor of about 15, loss per
 * cost was seen to grow by 1.7 (tiny-books-4m and books-16m).
 */
const POWER = 1.2;
/** How far from it the power of another checkpoint may be. */
const POWER_SPREAD = 0.2;
/** Half the band at a measured plan, as a share of the added loss: other plans of the same cost differ by this much. */
const LEAST_SPREAD = 0.1;

/**
 * A prediction for any objective: added loss = factor x objective^power. One measured plan gives the factor, with the
 * usual power; several give both, by least squares of logarithms.
 * @throws LqError 'usage' without a plan that is worse than the original.
 */
export function perplexityPredictor({ dense, plans }: MeasuredPlans): (objective: number) => PredictedPerplexity {
  const base = Math.log(dense);
  const points = plans
    .map(({ objective, perplexity }) => ({ x: Math.log(objective), added: Math.log(perplexity) - base }))
    .filter(({ x, added }) => Number.isFinite(x) && added > 0)
    .map(({ x, added }) => ({ x, y: Math.log(added) }));
  if (points.length === 0)
    throw new LqError('usage', 'A prediction needs a measured plan that is worse than the original.');
  const mean = (of: (point: { x: number; y: number }) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [meanX, meanY] = [mean(({ x }) => x), mean(({ y }) => y)];
  const variance = mean(({ x }) => (x - meanX) ** 2);
  const slope = variance > 0 ? mean(({ x, y }) => (x - meanX) * (y - meanY)) / variance : POWER;
  const power = Math.min(POWER + POWER_SPREAD, Math.max(POWER - POWER_SPREAD, slope));
  const line = (x: number): number => meanY + power * (x - meanX);
  const residual = Math.sqrt(mean(({ x, y }) => (y - line(x)) ** 2));
  return objective => {
    if (!(objective > 0)) return { perplexity: dense, low: dense, high: dense };
    const x = Math.log(objective);
    const distance = Math.min(...points.map(point => Math.abs(x - point.x)));
    const spread = Math.max(LEAST_SPREAD, 2 * residual) + POWER_SPREAD * distance;
    const at = (y: number): number => Math.exp(base + Math.exp(y));
    const y = line(x);
    return { perplexity: at(y), low: at(y - spread), high: at(y + spread) };
  };
}
