/** Synthetic sweep tables in the shapes of real models. */
import { nominalBits, paperGrid, gridOptions } from '../../../extension/core/options/config';
import type { SweepRow, SweepTable } from '../../../extension/core/sensitivity/types';
import type { QuantConfig } from '../../../extension/core/native';
import type { Role } from '../../../extension/core/checkpoint/types';

/** Deterministic uniform numbers in [0, 1) (mulberry32). */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

export interface Shape {
  readonly layers: number;
  readonly hidden: number;
  readonly kv: number;
  readonly intermediate: number;
}

/** 224 matrices. */
export const LLAMA_2_7B: Shape = { layers: 32, hidden: 4096, kv: 4096, intermediate: 11008 };
/** 560 matrices. */
export const LLAMA_2_70B: Shape = { layers: 80, hidden: 8192, kv: 1024, intermediate: 28672 };
/** 28 matrices; columns that no block size divides. */
export const TINY: Shape = { layers: 4, hidden: 256, kv: 128, intermediate: 688 };

/**
 * Costs behave as measured ones do: a matrix's error falls about fourfold a bit, larger blocks and coarser scales cost a few
 * per cent, matrices differ by orders of magnitude in weight, and every cost carries noise of its own.
 */
export function syntheticTable(shape: Shape, seed: number, rank = 64, grid = paperGrid()): SweepTable {
  const random = randomSource(seed);
  const matrices: SweepRow[] = [];
  for (let layer = 0; layer < shape.layers; layer++) {
    const add = (role: Role, rows: number, cols: number): void => {
      const weight = rows * cols * Math.exp(2 * (random() + random() + random() - 1.5));
      const costs = grid.map(config => weight * relativeError(config) * (1 + 0.02 * random()));
      matrices.push({
        name: `model.layers.${layer}.${role}_proj.weight`,
        rows,
        cols,
        role,
        layer,
        hash: '0'.repeat(16),
        costs,
        squaredErrors: costs,
        predicted: [],
        norm: weight,
        weightedNorm: weight,
      });
    };
    add('q', shape.hidden, shape.hidden);
    add('k', shape.kv, shape.hidden);
    add('v', shape.kv, shape.hidden);
    add('o', shape.hidden, shape.hidden);
    add('gate', shape.intermediate, shape.hidden);
    add('up', shape.intermediate, shape.hidden);
    add('down', shape.hidden, shape.intermediate);
  }
  const parameters = matrices.reduce((sum, row) => sum + row.rows * row.cols, 0);
  return {
    version: 2,
    model: {
      path: '/synthetic',
      label: 'synthetic',
      parameters,
      bytes: 2 * parameters + 2_100_000,
      keptBytes: 2_100_000,
    },
    recipe: {
      method: 'lq-lora',
      metric: { kind: 'plain' },
      loop: { scales: 'sqrt-of-means', iterations: 100, patience: 1, oversampling: 10, powerIterations: 2 },
      seed,
    },
    options: gridOptions(grid, rank),
    matrices,
    seconds: 0,
    device: 'none',
  };
}

function relativeError(config: QuantConfig): number {
  const codes = { 2: 0.14, 3: 0.035, 4: 0.0095 }[config.b0] ?? 0.001;
  const blocks = 1 + 0.25 * Math.log2(config.B0 / 16) + 0.02 * Math.log2(config.B1 / 16);
  const scales = 1 + { 2: 0.3, 3: 0.08, 4: 0.02 }[config.b1]!;
  return codes * blocks * scales * (1 + 1e-4 * (5 - nominalBits(config)));
}

/** The table with its options repeated at growing ranks until there are `count`, each rank taking a share of the error away. */
export function manyOptions(table: SweepTable, count: number): SweepTable {
  const from = table.options.length;
  const rankOf = (i: number): number => 32 * Math.floor(i / from);
  const costOf = (costs: SweepRow['costs'], i: number): number => costs[i % from]! * 0.93 ** Math.sqrt(rankOf(i) / 8);
  return {
    ...table,
    options: Array.from({ length: count }, (_, i) => ({ ...table.options[i % from]!, rank: rankOf(i) })),
    matrices: table.matrices.map(row => {
      const costs = Array.from({ length: count }, (_, i) => costOf(row.costs, i));
      return { ...row, costs, squaredErrors: costs };
    }),
  };
}
