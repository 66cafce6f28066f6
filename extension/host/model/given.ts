import type { CompressedMatrix, CompressReport } from '../../core/reports';
import type { GivenOption } from '../../protocol/panels';

/** What a compression gave a matrix, beside all others: the share of size and of error says why. */
export function givenOf({ matrices }: Pick<CompressReport, 'matrices'>, row: CompressedMatrix): GivenOption {
  const sum = (of: (each: CompressedMatrix) => number): number => matrices.reduce((total, each) => total + of(each), 0);
  const share = (of: (each: CompressedMatrix) => number): number => (sum(of) > 0 ? of(row) / sum(of) : 0);
  return {
    option: row.label,
    bits: row.bits,
    effectiveBits: row.effectiveBits,
    bytes: row.bytes,
    sizeShare: share(each => each.bytes),
    costShare: share(each => each.cost),
    error: row.errorStored,
    /** Matrices with more bits a weight. */
    above: matrices.filter(({ effectiveBits }) => effectiveBits > row.effectiveBits).length,
    of: matrices.length,
  };
}
