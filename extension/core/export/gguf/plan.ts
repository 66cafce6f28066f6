/** A plan over GGUF's types: what of the file it does not decide, and carrying it out. */
import type { Plan } from '../../allocation/types';
import type { CheckpointIndex, LogicalTensor } from '../../checkpoint/types';
import { GGUF_TYPES, ggufOption } from '../../options/methods/gguf';
import type { PipelineContext } from '../../context';
import type { BlockType } from '../../dtypes';
import { LqError } from '../../errors';
import { optionFits, optionParts } from '../../options/option';
import { bytesOfPart } from '../../options/parts';
import type { Metric } from '../../sensitivity/metric';
import type { SweepTable } from '../../sensitivity/types';
import { ggufReadme } from './exporter';
import type { GgufModel, TypeName } from './layout';
import { bitsOf, writeGguf } from './write';

const ALIGNMENT = 32;

interface Targets {
  readonly index: CheckpointIndex;
  readonly targets: LogicalTensor[];
}

/**
 * The targets that some type's blocks divide, and a sentence about the others, which stay in their float type.
 * @throws LqError 'no-targets' when there is none.
 */
export function fittingTargets({ index, targets }: Targets): { opened: Targets; left: string[] } {
  const options = GGUF_TYPES.map(ggufOption);
  const fits = ({ shape: [rows = 0, cols = 0] }: LogicalTensor): boolean =>
    options.some(option => optionFits(option, rows, cols));
  const narrow = ({ shape: [, cols = 0] }: LogicalTensor): boolean => cols % 256 !== 0;
  const fitting = targets.filter(fits);
  const none = targets.filter(target => !fits(target));
  const wide = fitting.filter(narrow);
  const named = (list: readonly LogicalTensor[]): string =>
    `${list.length} of ${targets.length} matrices (${list[0]!.name}, ${list[0]!.shape.join(' x ')})`;
  if (fitting.length === 0)
    throw new LqError('no-targets', `Nothing to compress: no block of GGUF divides the rows of ${named(none)}.`);
  return {
    opened: { index, targets: fitting },
    left: [
      ...(none.length > 0 ? [`32 does not divide the columns of ${named(none)}, which stay in their float type.`] : []),
      ...(wide.length > 0
        ? [`256 does not divide the columns of ${named(wide)}: only types of 4.5 bits and more fit them.`]
        : []),
    ],
  };
}

/** The table with the bytes of the file that its options do not decide: header, vectors, other matrices, padding. */
export function withFileBytes(model: GgufModel, table: SweepTable, other: TypeName): SweepTable {
  const planned = new Map(table.matrices.map(row => [row.name, row]));
  const types = new Map<string, TypeName>(
    model.weights.map(({ name }) => [name, planned.has(name) ? 'Q8_0' : other] as const),
  );
  const sample = new Map(types);
  for (const { name, source } of model.weights)
    if (planned.has(name) && source.cols % ALIGNMENT !== 0) sample.set(name, 'F32');
  const layout = model.layout(sample);
  const own = layout.weights.reduce(
    (sum, { name, place }) => sum + (planned.has(name) ? Math.ceil(place.bytes / ALIGNMENT) * ALIGNMENT : 0),
    0,
  );
  const slack = table.matrices.reduce((sum, { rows, cols }) => {
    const pads = table.options.map(option => {
      if (!optionFits(option, rows, cols)) return 0;
      const bytes = optionParts(option, rows, cols).reduce((total, part) => total + bytesOfPart(part), 0);
      return (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
    });
    return sum + Math.max(...pads);
  }, 0);
  return { ...table, model: { ...table.model, keptBytes: layout.fileBytes - own + slack } };
}

export interface GgufResult {
  readonly bytes: number;
  readonly matrices: readonly { name: string; errorLq: number; errorStored: number }[];
}

/** @throws LqError those of `writeGguf`. */
export async function writeGgufPlan(
  context: PipelineContext,
  job: {
    model: GgufModel;
    table: SweepTable;
    plan: Plan;
    metric: Metric;
    other: TypeName;
    out: string;
    overwrite: boolean;
  },
): Promise<GgufResult> {
  const { model, table, plan, metric, other } = job;
  const chosen = new Map<string, BlockType>(
    plan.matrices.map(({ name, option }) => {
      if (option.grid.kind !== 'gguf') throw new LqError('usage', `${name} has no type of GGUF in the plan.`);
      return [name, option.grid.type];
    }),
  );
  const types = new Map<string, TypeName>(model.weights.map(({ name }) => [name, chosen.get(name) ?? other]));
  const blocks = new Set(table.matrices.filter(({ layer }) => layer >= 0).map(({ name }) => name));
  const { bytes } = await writeGguf(context, {
    model,
    types,
    metricOf: name => (blocks.has(name) ? metric.of(name).native : undefined),
    out: job.out,
    overwrite: job.overwrite,
    readme: ggufReadme(model.index.label, recipe(types)),
    fingerprint: JSON.stringify([metric.recipe, context.seed]),
  });
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  return {
    bytes,
    matrices: plan.matrices.map(({ name, cost }) => {
      const error = Math.sqrt(cost / (rows.get(name)!.weightedNorm || 1));
      return { name, errorLq: error, errorStored: error };
    }),
  };
}

/** The recipe in a sentence and a table. */
function recipe(types: ReadonlyMap<string, TypeName>): string {
  const lines = [...types].map(([name, type]) => `| ${name} | ${type} | ${bitsOf(type).toFixed(4)} |`);
  return [
    'Types were chosen by an integer program for the size of the file; weights were rounded with feedback.',
    '',
    '| weight | type | bits |',
    '|---|---|---|',
    ...lines,
  ].join('\n');
}
