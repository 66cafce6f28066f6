/** Symmetric integers with a scale a group of a row, which several programs store as two tensors: codes and scales. */
import type { TensorSpec } from '../../checkpoint/serialize';
import type { Option } from '../../options/types';
import type { CodedTensors, StoredPart } from './coded';

/** Bits and columns a scale of an option. */
export interface GroupScheme {
  readonly bits: number;
  readonly size: number;
}

/** What a matrix that has none of a format's schemes lacks. */
export const GROUP_NEED = 'a group that divides its columns';

const WORD = 32;

/** Bits and group of symmetric integers in groups that divide rows of whole words, or undefined. */
export function wholeGroups(
  { grid, scales, transform, rank }: Option,
  _rows: number,
  cols: number,
): GroupScheme | undefined {
  if (grid.kind !== 'int' || !grid.symmetric || scales.kind !== 'searched' || transform !== 'none' || rank > 0)
    return undefined;
  const { size } = scales;
  return cols % size === 0 && (cols * grid.bits) % WORD === 0 ? { bits: grid.bits, size } : undefined;
}

/** As inspection names a scheme. */
export const groupLabel = ({ bits, size }: GroupScheme): string => `INT${bits} g${size}`;

/** Codes and scales under their names, the scales in the type they are encoded in unless it is said otherwise. */
export const codesAndScales = (
  codes: TensorSpec,
  scales: Pick<TensorSpec, 'name'> & Partial<TensorSpec>,
  stored: StoredPart,
  others: readonly TensorSpec[],
): CodedTensors => ({ parts: { codes, group_scales: { ...stored('group_scales'), ...scales } }, others });
