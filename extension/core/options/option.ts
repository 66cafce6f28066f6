/** An option as a whole: its name for people, what it is stored as, exactly how large that is, and whether it exists. */
import { LqError } from '../errors';
import { NF8_FACTORS, paperConfig, quantizedBytes, storageBits } from './config';
import { gridKind, isGridKind } from './grids/registry';
import { bytesOfPart, type Part } from './parts';
import { isRounding, roundingLabel } from './roundings';
import { isScaleKind, scaleKind } from './scales/registry';
import { isTransform, transformFault, transformLabel, transformParts } from './transforms';
import type { FactorStorage, Option } from './types';

/** One line for people: `NF3 b1=4 bf16 64x256 r16`, `Trellis 2.5 bits`, `INT4 asym g128 feedback`. */
export function describeOption({ transform, grid, scales, rounding, rank }: Option): string {
  const kind = gridKind(grid);
  return [
    kind.label(grid),
    scaleKind(scales).label(scales),
    transform === kind.usual.transform ? '' : transformLabel(transform),
    rounding === kind.usual.rounding ? '' : roundingLabel(rounding),
    rank > 0 ? `r${rank}` : '',
  ]
    .filter(word => word !== '')
    .join(' ');
}

/** The same for a narrow column, as storage formats are called: `NF3 g64 r16`. */
export function shortLabel(option: Option): string {
  const { grid, scales, rank } = option;
  const block = scales.kind === 'two-level' ? scales.B0 : scales.kind === 'group' ? scales.size : undefined;
  return [gridKind(grid).label(grid), block === undefined ? '' : `g${block}`, rank > 0 ? `r${rank}` : '']
    .filter(word => word !== '')
    .join(' ');
}

/** Bits of codes a weight takes: what an override's least and most bits speak of. */
export const rateOf = ({ grid }: Option): number => gridKind(grid).rate(grid);

/** Whether a [rows, cols] matrix can be stored as an option: its rank and its grid's blocks fit. */
export function optionFits({ grid, rank }: Option, rows: number, cols: number): boolean {
  return rank <= Math.min(rows, cols) && (gridKind(grid).fits?.(grid, rows, cols) ?? true);
}

/** The stored parts of a [rows, cols] matrix, low-rank factors apart, in the order of the packed format. */
export function optionParts({ transform, grid, scales }: Option, rows: number, cols: number): Part[] {
  return [
    ...gridKind(grid).parts(grid, rows, cols),
    ...scaleKind(scales).parts(scales, grid, rows, cols),
    ...transformParts(transform, cols),
  ];
}

/** Bytes of one low-rank factor of `count` elements. */
export function factorBytes(storage: FactorStorage, count: number): number {
  if (storage === 'nf8') return quantizedBytes(NF8_FACTORS, count);
  return count * (storage === 'bf16' ? 2 : 4);
}

/** Exactly the tensor bytes the packed checkpoint holds for a [rows, cols] matrix under an option. */
export function packedBytes(option: Option, rows: number, cols: number, factors: FactorStorage): number {
  const { rank } = option;
  const quantized = optionParts(option, rows, cols).reduce((sum, part) => sum + bytesOfPart(part), 0);
  if (rank === 0) return quantized;
  return quantized + factorBytes(factors, rows * rank) + factorBytes(factors, rank * cols);
}

/**
 * The paper's size of a [rows, cols] matrix in bits, which leaves low-rank factors out: of one of the paper's options its
 * codes, block scales and group maxima to the bit, of another everything stored but the factors.
 */
export function optionBits(option: Option, rows: number, cols: number): number {
  const config = paperConfig(option);
  if (config !== undefined) return storageBits(config, rows * cols);
  return 8 * packedBytes({ ...option, rank: 0 }, rows, cols, 'fp32');
}

/** Why an option does not exist, as the end of a sentence, or undefined when it does. Takes any JSON value. */
export function optionFault(value: unknown): string | undefined {
  if (!isRecord(value) || !isRecord(value.grid) || !isRecord(value.scales)) return 'it is not an option';
  if (!isTransform(value.transform)) return `there is no transform ${JSON.stringify(value.transform)}`;
  if (!isRounding(value.rounding)) return `there is no rounding ${JSON.stringify(value.rounding)}`;
  if (!isGridKind(value.grid.kind)) return `there is no grid ${JSON.stringify(value.grid.kind)}`;
  if (!isScaleKind(value.scales.kind)) return `there are no scales ${JSON.stringify(value.scales.kind)}`;
  const { transform, grid, scales, rounding, rank } = value as unknown as Option;
  if (!Number.isSafeInteger(rank) || rank < 0) return `a rank is a whole number, not ${String(rank)}`;
  const kind = gridKind(grid);
  const fault = kind.fault(grid) ?? scaleKind(scales).fault(scales) ?? transformFault(value as unknown as Option);
  if (fault !== undefined) return fault;
  const label = kind.label(grid);
  if (kind.empty === true && rank === 0) return 'an option without codes has a low-rank part';
  if (!kind.scales.includes(scales.kind)) return `${label} has no ${scales.kind} scales`;
  if (!kind.transforms.includes(transform)) return `${label} is not combined with the transform ${transform}`;
  if (!kind.roundings.includes(rounding)) return `${label} is not combined with the rounding ${rounding}`;
  return undefined;
}

/** Refuses options that do not exist, by name. @throws LqError 'usage'. */
export function requireOptions(options: readonly Option[]): void {
  if (options.length === 0) throw new LqError('usage', 'There is no option to choose from.');
  for (const [i, option] of options.entries()) {
    const fault = optionFault(option);
    if (fault !== undefined) throw new LqError('usage', `Option ${i + 1} of ${options.length}: ${fault}.`);
  }
}

/** Options as keys: equal options have equal texts, whatever the order of their fields. */
export function optionKey(option: Option): string {
  const flat = (value: object): unknown[] => Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  const { transform, grid, scales, rounding, rank } = option;
  return JSON.stringify([transform, flat(grid), flat(scales), rounding, rank]);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
