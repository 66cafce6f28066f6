import { fieldPart, type Part } from '../parts';
import type { Grid } from '../types';

/** The zero points of an integer grid that is not symmetric, as wide as its codes, one for each of `groups` scales. */
export function zeroPoints(grid: Grid, groups: number): Part[] {
  return grid.kind === 'int' && !grid.symmetric ? [fieldPart('group_zeros', groups, grid.bits)] : [];
}
