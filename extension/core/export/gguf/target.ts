/** Block types of GGUF chosen by the program: what of the file it decides, exact sizes, and writing what it chose. */
import { padded as paddedBytes } from '../../checkpoint/gguf/serialize';
import { PART_BYTES } from '../../checkpoint/gguf/serialize-parts';
import type { LogicalTensor } from '../../checkpoint/types';
import type { PipelineContext } from '../../context';
import { forgetEncoded } from '../../decomposition/encoded';
import { LqError } from '../../errors';
import { withoutTargets } from '../../logical/targets';
import type { Opened } from '../../opened';
import { optionFits, optionParts } from '../../options/option';
import { bytesOfPart } from '../../options/parts';
import type { Option } from '../../options/types';
import {
  anyPlan,
  keptBeside,
  type PreparedTarget,
  type Sizes,
  type Target,
  type WriteJob,
  type Written,
} from '../target';
import { floatType, ggufReadme } from './exporter';
import { ggufModel, type GgufLayout, type GgufModel, type TypeName } from './layout';
import { blockFits, outerMatrices, withOuterMatrices } from './outer';
import { bitsOf, ggufPieces, writeGguf, type GgufContent } from './write';

export const ggufTarget: Target = {
  stages: ['export'],
  layerOrder: false,
  embeddings: 'always',
  async prepare(files, found, options, { splitSize }): Promise<PreparedTarget> {
    const model = await ggufModel(files, found.index);
    const { opened, notes } = fittingTargets(found, model, options);
    const sizes = fileSizes(model, opened, options, splitSize);
    // A tensor that no part holds is named now.
    if (splitSize !== undefined) model.layout(typesOf(model, anyPlan(sizes, options)), splitSize);
    const floatBits = bitsOf(floatType(model.index));
    const bytesOfFloat = ({ parameters }: LogicalTensor): number => paddedBytes((parameters * floatBits) / 8);
    return {
      opened,
      notes: [...model.notes, ...notes],
      sizes,
      stored(chosen) {
        const types = typesOf(model, chosen);
        return model.stored(types, model.layout(types, splitSize).files.length);
      },
      async complete(context, table, windows) {
        const { matrices } = await withOuterMatrices(context, model, table, await windows?.());
        const slices = new Map(model.weights.map(({ name, stored, slice }) => [name, { stored, slice }] as const));
        return {
          ...table,
          model: { ...table.model, keptBytes: keptBeside(sizes, opened.targets, table, bytesOfFloat) },
          matrices: matrices.map(row => {
            const { stored, slice } = slices.get(row.name)!;
            const bytes = table.options.map(option => sizes.bytesOf(option, row.rows, row.cols) ?? null);
            const costs = row.costs.map((cost, i) => (bytes[i] === null ? null : cost));
            return slice === undefined
              ? { ...row, bytes, costs }
              : { ...row, bytes: ofExpert(bytes, table.options, row, slice), costs, tie: stored };
          }),
        };
      },
      pieces: (context, job) => ggufPieces(encodedContent(context, model, job, splitSize), 'out'),
      write: (context, job) => job.timed('export', () => writePlan(context, model, job, splitSize)),
    };
  },
};

/**
 * The targets that some option's blocks divide, and a sentence about the others, which stay in their float type.
 * @throws LqError 'no-targets' when there is none.
 */
function fittingTargets(
  found: Opened,
  model: GgufModel,
  options: readonly Option[],
): { opened: Opened; notes: string[] } {
  const { targets } = found;
  const known = new Set(model.weights.map(({ name }) => name));
  const fits = ({ shape: [rows = 0, cols = 0] }: LogicalTensor): boolean =>
    options.some(option => blockFits(option, rows, cols));
  const foreign = targets.filter(({ name }) => !known.has(name));
  const odd = targets.filter(target => known.has(target.name) && !fits(target));
  const fitting = targets.filter(target => known.has(target.name) && fits(target));
  const wide = fitting.filter(({ shape: [, cols = 0] }) => cols % 256 !== 0);
  const named = (list: readonly LogicalTensor[]): string =>
    `${list.length} of ${targets.length} matrices (${list[0]!.name}, ${list[0]!.shape.join(' x ')})`;
  if (fitting.length === 0)
    throw new LqError('no-targets', `Nothing to compress: no block of GGUF divides the rows of ${named(targets)}.`);
  const dropped = [
    ...foreign.map(target => ({ target, reason: 'no matrix of its own in GGUF' })),
    ...odd.map(target => ({ target, reason: 'no block of GGUF divides its columns' })),
  ];
  return {
    opened: { ...found, targets: fitting, coverage: withoutTargets(found.coverage, dropped) },
    notes: [
      ...(foreign.length > 0 ? [`GGUF has no matrix of their own for ${named(foreign)}.`] : []),
      ...(odd.length > 0 ? [`32 does not divide the columns of ${named(odd)}, which stay in their float type.`] : []),
      ...(wide.length > 0
        ? [`256 does not divide the columns of ${named(wide)}: only types of 4.25 bits and more fit them.`]
        : []),
    ],
  };
}

/** Of an expert's matrix: a tensor of all of a layer is padded once, which the first bears. */
function ofExpert(
  padded: readonly (number | null)[],
  options: readonly Option[],
  { rows, cols }: { readonly rows: number; readonly cols: number },
  { at, count }: { readonly at: number; readonly count: number },
): (number | null)[] {
  return padded.map((bytes, i) => {
    if (bytes === null) return null;
    const own = exactBytes(options[i]!, rows, cols);
    return at === 0 ? paddedBytes(count * own) - (count - 1) * own : own;
  });
}

const exactBytes = (option: Option, rows: number, cols: number): number =>
  optionParts(option, rows, cols).reduce((sum, part) => sum + bytesOfPart(part), 0);

/** Sizes of the whole file: a tensor counts with its padding, everything else is header, vectors and other matrices. */
function fileSizes(model: GgufModel, opened: Opened, options: readonly Option[], splitSize: number | undefined): Sizes {
  const blocks = new Set(opened.targets.map(({ name }) => name));
  const decided = model.weights.filter(({ name }) => blocks.has(name));
  const matrices = [...decided, ...outerMatrices(model, blocks, options)].map(({ name, source: { rows, cols } }) => ({
    name,
    rows,
    cols,
  }));
  const planned = new Set(matrices.map(({ name }) => name));
  const types = new Map(model.weights.map(({ name }) => [name, floatType(model.index)] as const));
  const layout = model.layout(types);
  const own = new Map<string, number>();
  for (const [i, { place }] of layout.weights.entries()) {
    const { name, stored } = model.weights[i]!;
    if (planned.has(name)) own.set(stored, (own.get(stored) ?? 0) + place.bytes);
  }
  const decidedBytes = [...own.values()].reduce((sum, bytes) => sum + paddedBytes(bytes), 0);
  return {
    kept: layout.fileBytes - decidedBytes + (splitSize === undefined ? 0 : PART_BYTES * mostParts(layout, splitSize)),
    matrices,
    bytesOf(option, rows, cols) {
      if (option.grid.kind !== 'gguf' || !optionFits(option, rows, cols)) return undefined;
      const bytes = paddedBytes(exactBytes(option, rows, cols));
      return splitSize !== undefined && bytes + 2 * PART_BYTES > splitSize ? undefined : bytes;
    },
  };
}

/**
 * Where files end depends on the plan: headers are counted for the most files there can be. Any two that follow one another take
 * more than the limit, or the second's first tensor would be in the first.
 */
const mostParts = ({ fileBytes, weights }: GgufLayout, limit: number): number =>
  Math.min(weights.length, 1 + Math.ceil((2 * fileBytes) / limit));

/** The types of all matrices. @param chosen options of those that the program decides about */
function typesOf(model: GgufModel, chosen: ReadonlyMap<string, Option>): Map<string, TypeName> {
  const other = floatType(model.index);
  return new Map(
    model.weights.map(({ name }) => {
      const option = chosen.get(name);
      if (option && option.grid.kind !== 'gguf')
        throw new LqError('usage', `${name} has no type of GGUF in the plan.`, { tensor: name });
      return [name, option?.grid.kind === 'gguf' ? option.grid.type : other];
    }),
  );
}

/** What of the files a plan decides. */
function encodedContent(
  context: PipelineContext,
  model: GgufModel,
  { table, plan, metric }: Pick<WriteJob, 'table' | 'plan' | 'metric'>,
  splitSize: number | undefined,
): GgufContent {
  const planned = new Map(table.matrices.map(row => [row.name, row]));
  const weighted = (name: string): boolean => (planned.get(name)?.layer ?? -1) >= 0;
  return {
    model,
    types: typesOf(model, new Map(plan.matrices.map(({ name, option }) => [name, option]))),
    metricOf: name => (weighted(name) ? metric.of(name).native : undefined),
    keyOf(name) {
      const row = planned.get(name);
      const statistics = weighted(name) ? { ...metric.recipe, statistics: metric.of(name).hash } : 'plain';
      return row && { hash: row.hash, rows: row.rows, cols: row.cols, metric: statistics, seed: context.seed };
    },
    ...(splitSize !== undefined && { splitSize }),
  };
}

/** @throws LqError those of `writeGguf`; 'internal' when the file is not as large as planned. */
async function writePlan(
  context: PipelineContext,
  model: GgufModel,
  job: WriteJob,
  splitSize: number | undefined,
): Promise<Written> {
  const { table, plan, metric } = job;
  const content = encodedContent(context, model, job, splitSize);
  const { types } = content;
  const { fileBytes, files } = model.layout(types, splitSize);
  if (splitSize === undefined ? fileBytes !== plan.bytes : fileBytes > plan.bytes)
    throw new LqError('internal', `The file would have ${fileBytes} bytes, the plan says ${plan.bytes}.`);
  const { bytes, delivered } = await writeGguf(context, {
    ...content,
    out: job.out,
    overwrite: job.overwrite,
    readme: ggufReadme(model.index.label, files.length, recipe(types)),
    fingerprint: JSON.stringify([metric.recipe, context.seed]),
  });
  await forgetEncoded(context, ggufPieces(content, job.out));
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  return {
    bytes,
    delivered,
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
