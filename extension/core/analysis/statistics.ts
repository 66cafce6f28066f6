import type { NativeStatistics } from '../native';
import type { TensorStatistics } from './types';
import type { LogicalTensor } from '../checkpoint/types';

/** A tensor's statistics as they travel: norms summed up, arrays plain. Rows are outputs and columns inputs. */
export function tensorStatistics(tensor: LogicalTensor, native: NativeStatistics): TensorStatistics {
  const { histogram, rowNorms, colNorms, ...moments } = native;
  // Of no finite value there is no mean and no extreme: NaN, and null once it has travelled as JSON.
  const none = native.count === native.nans + native.infs;
  const unknown = { min: NaN, max: NaN, mean: NaN, stddev: NaN, absmax: NaN, kurtosis: NaN };
  return {
    name: tensor.name,
    dtype: tensor.dtype,
    shape: [...tensor.shape],
    ...moments,
    ...(none && unknown),
    histogram: { ...histogram, counts: [...histogram.counts] },
    rowNorms: summary(rowNorms),
    colNorms: summary(colNorms),
  };
}

/** Over the finite norms: those of rows with NaN or Inf say nothing and are reported by `nans` and `infs`. */
function summary(norms: Float64Array): TensorStatistics['rowNorms'] {
  const finite = norms.filter(Number.isFinite);
  if (finite.length === 0) return { min: 0, max: 0, mean: 0, zero: 0 };
  let [min, max, sum, zero] = [Infinity, 0, 0, 0];
  for (const norm of finite) {
    min = Math.min(min, norm);
    max = Math.max(max, norm);
    sum += norm;
    if (norm === 0) zero++;
  }
  return { min, max, mean: sum / finite.length, zero };
}
