/** Grids by name. A new one is a file beside this one, a member of `Grid` in types.ts, and a line here. */
import type { Grid, GridOf } from '../types';
import { exl3 } from './exl3';
import { fitted } from './fitted';
import { fp4 } from './fp4';
import { gguf } from './gguf';
import { int } from './int';
import type { GridKind } from './kind';
import { nf } from './nf';
import { trellis } from './trellis';
import { zero } from './zero';

const grids: { readonly [K in Grid['kind']]: GridKind<GridOf<K>> } = {
  ...{ nf, fitted, int, fp4, trellis, gguf, zero, exl3 },
};

export const isGridKind = (kind: unknown): kind is Grid['kind'] => Object.hasOwn(grids, kind as string);

/** The kind of a grid, to be asked about that grid. */
export const gridKind = <G extends Grid>(grid: G): GridKind<G> => grids[grid.kind] as unknown as GridKind<G>;
