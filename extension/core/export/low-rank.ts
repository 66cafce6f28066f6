/** Low-rank parts of packed matrices that go into adapters, beside a base of what is left. */
import type { CheckpointIndex } from '../checkpoint/types';
import { LqError } from '../errors';
import type { DenseSource, FactorSource, LqSource, WeightSource } from '../native';
import { readPacked, type PackedMatrix } from '../packed/reader';

export const lowRankMatrices = (index: CheckpointIndex): PackedMatrix[] =>
  [...readPacked(index).values()].filter(({ option }) => option.rank > 0);

/**
 * All matrices with a low-rank part.
 * @param why there is no form for others, after their name
 * @throws LqError 'usage' when a low-rank part would be lost, or there is none.
 */
export function requireLowRank(
  index: CheckpointIndex,
  fits: (matrix: PackedMatrix) => boolean,
  why: string,
): PackedMatrix[] {
  const found = lowRankMatrices(index);
  const where = { file: index.file };
  if (found.length === 0)
    throw new LqError('usage', `${index.label} has no low-rank parts; compress it with --method lq-lora.`, where);
  const other = found.find(matrix => !fits(matrix));
  if (other)
    throw new LqError('usage', `${other.name} ${why} for its low-rank part.`, { ...where, tensor: other.name });
  return found;
}

/** A packed matrix without its low-rank part. */
export function quantizedAlone(source: WeightSource): WeightSource {
  if (source.kind === 'lq') {
    const { l1: _l1, l2: _l2, ...own } = source;
    return own;
  }
  if (source.kind !== 'encoded') return source;
  const { l1: _l1, l2: _l2, option, ...own } = source;
  return { ...own, option: { ...option, rank: 0 } };
}

/** A factor is stored dense or as a quantised matrix of its own. */
export function asWeight(factor: FactorSource): DenseSource | LqSource {
  if (factor.kind === 'dense') return factor;
  const { rows, cols, packed } = factor;
  return { kind: 'lq', rows, cols, quantized: packed };
}
