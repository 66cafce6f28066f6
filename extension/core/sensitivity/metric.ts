/**
 * A metric is a value of the whole pipeline: sweep, plan, encoding and reports use the one that was chosen, and every cost
 * says under which it was measured.
 */
import { LqError } from '../errors';
import type { DenseSource, NativeMetric } from '../native';
import type { MetricRecipe } from '../options/recipe';
import type { FisherSource } from './types';
import { unreachedWarning } from './unreached';

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
  /** What a reader of its results should know, one sentence each. */
  readonly notes?: readonly string[];
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
  /** A = E[x x^T] of its input, F32 [cols, cols], or its diagonal, F32 [1, cols]. */
  readonly secondMoment: DenseSource;
  /** mean(diag A); 0 where no token reached the matrix. */
  readonly meanSquare: number;
  /** Mean of its Fisher information. */
  readonly fisherMean: number;
  readonly hash: string;
}

/** What becomes of matrices that no token reached, see `kfacMetric`. */
export const UNREACHED_UNDER_KFAC =
  'are weighed by their plain squared error times the least mean Fisher information of the others';

/**
 * sum_i g_i e_i H e_i^T with g_i = mean_j F_ij / mean(diag A), the error's rows e_i. Native code is given the means of F;
 * the division is one factor for the whole matrix. Of a matrix that no token reached nothing is known: its metric is m ||E||^2,
 * which is what K-FAC gives for white inputs and even rows, with m the least mean of F among the matrices that were reached.
 */
export function kfacMetric(source: {
  readonly file: string;
  readonly hash: string;
  readonly matrices: ReadonlyMap<string, KfacStatistics>;
  readonly diagonal?: boolean;
}): Metric {
  const reached = [...source.matrices.values()].filter(({ meanSquare }) => meanSquare > 0);
  const least = reached.reduce((smallest, { fisherMean }) => Math.min(smallest, fisherMean), Infinity);
  const unreached = [...source.matrices].filter(([, { meanSquare }]) => meanSquare === 0).map(([name]) => name);
  const plain: MatrixMetric = { ...PLAIN, scale: Number.isFinite(least) ? least : 0, hash: `plain ${least}` };
  return {
    recipe: { kind: 'kfac', statistics: source.hash, damping: DAMPING },
    file: source.file,
    notes: [
      ...(source.diagonal === true
        ? ['Errors are weighed with mean squares of inputs alone: an importance matrix says nothing else.']
        : []),
      ...unreachedWarning(unreached, UNREACHED_UNDER_KFAC),
    ],
    of(name) {
      const found = source.matrices.get(name);
      if (found === undefined) throw missing(source.file, name);
      const { rowMean, secondMoment, meanSquare, hash } = found;
      if (meanSquare === 0) return plain;
      const native = { kind: 'kfac', rowWeight: rowMean, secondMoment, damping: DAMPING } as const;
      return { native, scale: 1 / meanSquare, hash };
    },
  };
}

const missing = (file: string, name: string): LqError =>
  new LqError('fisher-mismatch', `The statistics have no matrix named ${name}.`, { file, tensor: name });
