import { rowMeanName } from '../../core/sensitivity/calibration-file';
import type { LogicalTensor, Role } from '../../core/checkpoint/types';
import type { CompressedMatrix } from '../../core/reports';
import type { TensorStatistics } from '../../core/analysis/types';
import type { HeatCell, HeatValue, MetricId } from '../../protocol/panels';

/** Rows from top to bottom; other roles follow in the order they are met. */
const roleOrder: readonly Role[] = ['q', 'k', 'v', 'qkv', 'o', 'gate', 'up', 'gate_up', 'down', 'fc1', 'fc2'];

/** The grid of a checkpoint: a row for each role, and for each expert of it, a column for each layer. */
export interface HeatGrid {
  rows: string[];
  layers: number[];
  cells: HeatCell[];
}

/** Cells are the weights of two dimensions that belong to a layer; the first of several with one place is kept. */
export function heatGrid(tensors: readonly LogicalTensor[]): HeatGrid {
  const weights = tensors.filter(({ layer, shape, role }) => layer >= 0 && shape.length === 2 && role !== 'norm');
  const labels = new Map<string, { order: number; expert: number; met: number }>();
  for (const tensor of weights) {
    const label = rowLabel(tensor);
    const order = roleOrder.indexOf(tensor.role);
    if (!labels.has(label)) {
      const rank = order < 0 ? roleOrder.length : order;
      labels.set(label, { order: rank, expert: expertOf(tensor.name) ?? -1, met: labels.size });
    }
  }
  const rows = [...labels]
    .sort(([, a], [, b]) => a.expert - b.expert || a.order - b.order || a.met - b.met)
    .map(([label]) => label);
  const layers = [...new Set(weights.map(({ layer }) => layer))].sort((a, b) => a - b);
  const taken = new Set<string>();
  const cells = weights.flatMap(tensor => {
    const row = rows.indexOf(rowLabel(tensor));
    const column = layers.indexOf(tensor.layer);
    const place = `${row} ${column}`;
    if (taken.has(place)) return [];
    taken.add(place);
    return [{ name: tensor.name, row, column, shape: [...tensor.shape] }];
  });
  return { rows, layers, cells };
}

function rowLabel({ role, name }: LogicalTensor): string {
  const expert = expertOf(name);
  const own = role === 'other' ? moduleOf(name) : role;
  return expert === undefined ? own : `expert ${expert} ${own}`;
}

function expertOf(name: string): number | undefined {
  const match = /(?:^|\.)experts\.(\d{1,6})\./.exec(name);
  return match ? Number(match[1]) : undefined;
}

/** The part of the name that says which of a layer's weights it is. */
const moduleOf = (name: string): string =>
  name
    .replace(/\.weight$/, '')
    .split('.')
    .at(-1)!
    .slice(0, 40);

/** Metrics read from the statistics of a tensor. */
const fromStatistics: Partial<Record<MetricId, (statistics: TensorStatistics) => number>> = {
  absmax: each => each.absmax,
  stddev: each => each.stddev,
  kurtosis: each => each.kurtosis,
  zeros: each => (each.count > 0 ? each.zeros / each.count : 0),
};
export const isStatistic = (metric: MetricId): boolean => metric in fromStatistics;

export function statisticValues(
  metric: MetricId,
  cells: readonly HeatCell[],
  known: ReadonlyMap<string, TensorStatistics>,
): HeatValue[] {
  const read = fromStatistics[metric]!;
  return cells.map(({ name }) => {
    const statistics = known.get(name);
    if (!statistics) return null;
    if (statistics.nans > 0 || statistics.infs > 0) return 'nan';
    return finite(read(statistics));
  });
}

/** Metrics of what a compression did to a matrix. */
const fromReport: Partial<Record<MetricId, (matrix: CompressedMatrix) => number>> = {
  bits: each => each.bits,
  'effective-bits': each => each.effectiveBits,
  rank: each => each.option.rank,
  error: each => Math.sqrt(each.cost),
  'relative-error': each => each.errorStored,
  // The share of quantisation's error that the low-rank part took away.
  'low-rank-gain': ({ errorQuantized = 0, errorLq }) => (errorQuantized > 0 ? 1 - errorLq / errorQuantized : 0),
};
export const isOutcome = (metric: MetricId): boolean => metric in fromReport;

export function outcomeValues(
  metric: MetricId,
  cells: readonly HeatCell[],
  matrices: readonly CompressedMatrix[],
): HeatValue[] {
  const read = fromReport[metric]!;
  const byName = new Map(matrices.map(each => [each.name, each]));
  return cells.map(({ name }) => {
    const matrix = byName.get(name);
    return matrix ? finite(read(matrix)) : null;
  });
}

/** Bits as the files have them, for a checkpoint of which no report is known. */
export function storedBits(cells: readonly HeatCell[], tensors: ReadonlyMap<string, LogicalTensor>): HeatValue[] {
  return cells.map(({ name }) => tensors.get(name)?.bitsPerWeight ?? null);
}

/** Sums over a matrix, of the statistics of a Fisher file or of calibration statistics, which may have its rows' means alone. */
export function fisherValues(cells: readonly HeatCell[], statistics: readonly TensorStatistics[]): HeatValue[] {
  const byName = new Map(statistics.map(each => [each.name, each.mean * each.count]));
  return cells.map(({ name, shape }) => {
    const rows = byName.get(rowMeanName(name));
    const sum = byName.get(name) ?? (rows !== undefined && shape[1] !== undefined ? rows * shape[1] : undefined);
    return sum === undefined ? null : finite(sum);
  });
}

/**
 * Values of a user's JSON: an object of numbers by tensor, module (`model.layers.0.self_attn.q_proj`) or layer
 * (`model.layers.0`, `layers.0` or `0`). The longest name that fits a cell counts.
 * @returns undefined when nothing in it fits any cell.
 */
export function externalValues(data: unknown, cells: readonly HeatCell[]): HeatValue[] | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const numbers = new Map(
    Object.entries(data).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
  );
  const values = cells.map(({ name }) => {
    const segments = name.split('.');
    for (let length = segments.length; length > 0; length--) {
      const prefix = segments.slice(0, length);
      const found = numbers.get(prefix.join('.')) ?? layerValue(prefix, numbers);
      if (found !== undefined) return finite(found);
    }
    return null;
  });
  return values.some(value => value !== null) ? values : undefined;
}

function layerValue(prefix: readonly string[], numbers: ReadonlyMap<string, number>): number | undefined {
  const last = prefix.at(-1)!;
  if (!/^\d+$/.test(last)) return undefined;
  return numbers.get(prefix.slice(-2).join('.')) ?? numbers.get(last);
}

const finite = (value: number): HeatValue => (Number.isFinite(value) ? value : 'nan');
