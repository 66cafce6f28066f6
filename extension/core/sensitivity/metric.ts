/**
 * A metric is a value of the whole pipeline: sweep, plan, encoding and reports use the one that was chosen, and every cost
 * says under which it was measured.
 */
import { LqError } from '../errors';
import type { DenseSource, NativeMetric } from '../native';
import type { MetricRecipe } from '../options/recipe';
import type { FisherSource } from './types';

/** The damping of H = A + damping mean(diag A) I, which feedback inverts (GPTQ's percdamp). */
export const DAMPING = 0.01;

/** A metric for one matrix. */
export interface MatrixMetric {
  readonly native: NativeMetric;
  /** What native costs are multiplied with. */
  readonly scale: number;
  /** Hash of what the metric is made of, for caches. */
  readonly hash: string;
}

export interface Metric {
  readonly recipe: MetricRecipe;
  /** The file of statistics behind it. */
  readonly file?: string;
  /** @throws LqError 'fisher-mismatch' for a matrix the statistics do not have. */
  of(name: string): MatrixMetric;
}

const PLAIN: MatrixMetric = { native: { kind: 'plain' }, scale: 1, hash: 'plain' };

/** ||E||^2. */
export const plainMetric: Metric = { recipe: { kind: 'plain' }, of: () => PLAIN };

/** sum F E^2. */
export function fisherMetric(source: FisherSource): Metric {
  return {
    recipe: { kind: 'fisher', statistics: source.hash },
    file: source.file,
    of(name) {
      const fisher = source.matrices.get(name);
      if (fisher === undefined) throw missing(source.file, name);
      return { native: { kind: 'fisher', fisher }, scale: 1, hash: source.hashes.get(name)! };
    },
  };
}

/** What K-FAC needs of one matrix. */
export interface KfacStatistics {
  /** Means over columns of the Fisher information, F32 [1, rows]. */
  readonly rowMean: DenseSource;
  /** A = E[x x^T] of its input, F32 [cols, cols]. */
  readonly secondMoment: DenseSource;
  /** mean(diag A). */
  readonly meanSquare: number;
  readonly hash: string;
}

/**
 * sum_i g_i e_i H e_i^T with g_i = mean_j F_ij / mean(diag A), the error's rows e_i. Native code is given the means of F;
 * the division is one factor for the whole matrix.
 */
export function kfacMetric(source: {
  readonly file: string;
  readonly hash: string;
  readonly matrices: ReadonlyMap<string, KfacStatistics>;
}): Metric {
  return {
    recipe: { kind: 'kfac', statistics: source.hash, damping: DAMPING },
    file: source.file,
    of(name) {
      const found = source.matrices.get(name);
      if (found === undefined) throw missing(source.file, name);
      const { rowMean, secondMoment, meanSquare, hash } = found;
      // Inputs that are always zero give every error the cost zero.
      const scale = meanSquare > 0 ? 1 / meanSquare : 0;
      return { native: { kind: 'kfac', rowWeight: rowMean, secondMoment, damping: DAMPING }, scale, hash };
    },
  };
}

const missing = (file: string, name: string): LqError =>
  new LqError('fisher-mismatch', `The statistics have no matrix named ${name}.`, { file, tensor: name });
