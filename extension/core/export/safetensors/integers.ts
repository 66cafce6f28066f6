/**
 * Targets of programs that store codes in rows and a scale a group, each its own tensor: widths and groups are chosen by the
 * program. What differs is how tensors are called and what is said beside them.
 */
import { tensorBytes, type TensorSpec } from '../../checkpoint/serialize';
import { tensorSource } from '../../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, StorageFormat } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import type { ItemReport } from '../../lanes';
import { joinPath } from '../../files/paths';
import { logicalTensors } from '../../logical/logical';
import { withoutTargets } from '../../logical/targets';
import type { Opened } from '../../opened';
import type { NativeBook } from '../../native';
import { nativeOption } from '../../options/native-option';
import { describeOption, optionParts } from '../../options/option';
import type { Option } from '../../options/types';
import type { SweepRow } from '../../sensitivity/types';
import { storedModel, withStored, type StoredModel } from '../loads/stored';
import { recipeReadme, type Lines } from '../readme';
import {
  quantizedConfig,
  replacedPieces,
  shardsOf,
  writeReplaced,
  type PlacedTensor,
  type Replacement,
  type ReplacingJob,
} from './folder';
import { keptBeside, type PreparedTarget, type Sizes, type Target, type WriteJob, type Written } from '../target';

/** Bits and columns a scale of an option. */
export interface Scheme {
  readonly bits: number;
  readonly size: number;
}

/** The tensors of a matrix [rows, cols]. */
export interface IntegerTensors {
  readonly codes: TensorSpec;
  readonly scales: TensorSpec;
  readonly others: readonly TensorSpec[];
}

export interface IntegerFormat {
  readonly label: string;
  /** As inspection recognises it. */
  readonly format: StorageFormat;
  readonly load: readonly Lines[];
  /** How inspection names a scheme; default `INT4 g128`. */
  typeOf?(scheme: Scheme, cols: number): string;
  /** Levels, where they are not those of this program. */
  readonly book?: NativeBook;
  /** Codes of 4 bits have the first of a byte in its high half. */
  readonly highFirst?: true;
  /** Of every safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The scheme of an option at this width, undefined where the format has none. */
  schemeOf(option: Option, cols: number): Scheme | undefined;
  tensorsOf(matrix: string, scheme: Scheme, scale: TensorSpec, rows: number, cols: number): IntegerTensors;
  /** Content of those of the others that no weight decides. @param dtype of the dense matrix */
  constantsOf(
    tensors: IntegerTensors,
    rows: number,
    cols: number,
    scheme: Scheme,
    dtype: string,
  ): ReadonlyMap<string, Uint8Array>;
  /** Writes the rest of the others, from what was encoded. */
  complete?(lane: PipelineContext, scheme: Scheme, tensors: IntegerTensors, placeOf: PlaceOf): Promise<void>;
  /** What matrices must share an option, if any. */
  tieOf?(row: Pick<SweepRow, 'name' | 'role'>): string | undefined;
  /** Entries of config.json. `ignored`: linear modules that stay as they are. */
  config(schemes: ReadonlyMap<string, Scheme>, ignored: readonly string[]): Readonly<Record<string, unknown>>;
}

export type PlaceOf = (tensor: TensorSpec) => PlacedTensor;

/** Bits and group of symmetric integers in groups that divide rows of whole words, or undefined. */
export function wholeGroups({ grid, scales, transform, rank }: Option, cols: number): Scheme | undefined {
  if (grid.kind !== 'int' || !grid.symmetric || scales.kind !== 'searched' || transform !== 'none' || rank > 0)
    return undefined;
  const { size } = scales;
  return cols % size === 0 && (cols * grid.bits) % WORD === 0 ? { bits: grid.bits, size } : undefined;
}

const WORD = 32;

/** Name of a matrix's module. */
export const moduleOf = (matrix: string): string => matrix.replace(/\.weight$/, '');

export const integersTarget = (format: IntegerFormat): Target => ({
  stages: ['export'],
  layerOrder: false,
  embeddings: 'never',
  prepare: (_, found, options) => Promise.resolve(prepare(format, found, options)),
});

const tensorsOf = (
  format: IntegerFormat,
  matrix: string,
  option: Option,
  rows: number,
  cols: number,
): IntegerTensors => {
  const { dtype, shape } = optionParts(option, rows, cols).find(({ name }) => name === 'group_scales')!;
  return format.tensorsOf(matrix, format.schemeOf(option, cols)!, { name: '', dtype, shape }, rows, cols);
};

const listOf = ({ codes, scales, others }: IntegerTensors): TensorSpec[] => [codes, scales, ...others];

function prepare(format: IntegerFormat, found: Opened, options: readonly Option[]): PreparedTarget {
  const { index } = found;
  if (index.gguf) throw new LqError('usage', `${index.label} is a GGUF file; start from its checkpoint.`);
  const { opened, notes } = fittingTargets(format, found, options);
  const { sizes, headers } = sizesOf(format, opened, options);
  return {
    opened,
    notes,
    sizes,
    stored: chosen => storedAs(format, opened.index, chosen),
    complete: (_, table) =>
      Promise.resolve({
        ...table,
        model: { ...table.model, keptBytes: keptBeside(sizes, opened.targets, table) },
        matrices: table.matrices.map(row => {
          const tie = format.tieOf?.(row);
          return {
            ...row,
            bytes: table.options.map(option => sizes.bytesOf(option, row.rows, row.cols) ?? null),
            costs: row.costs.map((cost, i) => (format.schemeOf(table.options[i]!, row.cols) ? cost : null)),
            ...(tie !== undefined && { tie }),
          };
        }),
      }),
    pieces: (_, job) => replacedPieces(replacing(format, opened, headers, job), 'out'),
    write: (context, job) => job.timed('export', () => writePlan(context, format, opened, headers, job)),
  };
}

/** @throws LqError 'no-targets' when there is nothing that the format holds. */
function fittingTargets(
  format: IntegerFormat,
  found: Opened,
  options: readonly Option[],
): { opened: Opened; notes: string[] } {
  const { targets } = found;
  const isModule = ({ name, transposed }: LogicalTensor): boolean => name.endsWith('.weight') && !transposed;
  const fits = ({ shape: [, cols = 0] }: LogicalTensor): boolean =>
    options.some(option => format.schemeOf(option, cols) !== undefined);
  const fitting = targets.filter(target => isModule(target) && fits(target));
  const foreign = targets.filter(target => !isModule(target));
  const odd = targets.filter(target => isModule(target) && !fits(target));
  const named = (list: readonly LogicalTensor[]): string =>
    `${list.length} of ${targets.length} matrices (${list[0]!.name}, ${list[0]!.shape.join(' x ')})`;
  if (fitting.length === 0)
    throw new LqError(
      'no-targets',
      `Nothing to compress: no group that ${format.label} has divides the rows of ${named(targets)}.`,
    );
  const dropped = [
    ...foreign.map(target => ({ target, reason: 'no linear module of its own' })),
    ...odd.map(target => ({ target, reason: 'no group divides its columns' })),
  ];
  return {
    opened: { ...found, targets: fitting, coverage: withoutTargets(found.coverage, dropped) },
    notes: [
      ...(foreign.length > 0
        ? [`${named(foreign)} belong to no linear module of their own and stay as they are.`]
        : []),
      ...(odd.length > 0
        ? [`No group of ${format.label} divides the columns of ${named(odd)}, which stay as they are.`]
        : []),
    ],
  };
}

/** Sizes of the safetensors files; headers have room for the longest that a plan could give. */
function sizesOf(
  format: IntegerFormat,
  { index, targets }: Opened,
  options: readonly Option[],
): { sizes: Sizes; headers: number[] } {
  const matrices = targets.map(({ name, shape: [rows = 1, cols = 1] }) => ({ name, rows, cols }));
  const tensors = (name: string, option: Option, rows: number, cols: number): TensorSpec[] =>
    listOf(tensorsOf(format, name, option, rows, cols));
  const bytesOf: Sizes['bytesOf'] = (option, rows, cols) =>
    format.schemeOf(option, cols) && tensors('', option, rows, cols).reduce((sum, spec) => sum + tensorBytes(spec), 0);
  const widest = matrices.map(({ name, rows, cols }) => {
    const all = options
      .filter(option => format.schemeOf(option, cols))
      .map(option => tensors(name, option, rows, cols));
    // Of each tensor the largest that any option has: no number in a header is longer.
    return {
      name,
      tensors: all[0]!.map((spec, i) => ({
        ...spec,
        shape: spec.shape.map((_, axis) => Math.max(...all.map(each => each[i]!.shape[axis]!))),
      })),
    };
  });
  const shards = shardsOf(index, widest, format.metadata);
  const headers = shards.map(({ header }) => header.length);
  const decided = new Set(widest.flatMap(({ tensors: own }) => own.map(({ name }) => name)));
  const kept = shards.flatMap(shard => shard.tensors).filter(({ name }) => !decided.has(name));
  return {
    sizes: {
      kept: [...headers, ...kept.map(({ bytes }) => bytes)].reduce((sum, bytes) => sum + bytes, 0),
      matrices,
      bytesOf,
    },
    headers,
  };
}

/** What of a folder a plan decides, and how it is written. */
function replacing(
  format: IntegerFormat,
  { index }: Opened,
  headers: readonly number[],
  { table, plan, metric }: Pick<WriteJob, 'table' | 'plan' | 'metric'>,
): Pick<ReplacingJob<Errors>, 'index' | 'shards' | 'replacements' | 'write' | 'keyOf'> {
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  const chosen = new Map(plan.matrices.map(({ name, option }) => [name, option]));
  const { seed } = table.recipe;
  const replacements = plan.matrices.map(({ name, option }): Replacement => {
    const { rows: height, cols } = rows.get(name)!;
    const tensors = tensorsOf(format, name, option, height, cols);
    return {
      name,
      weights: height * cols,
      tensors: listOf(tensors),
      constants: format.constantsOf(
        tensors,
        height,
        cols,
        format.schemeOf(option, cols)!,
        index.byName.get(name)!.dtype,
      ),
    };
  });
  return {
    index,
    shards: shardsOf(index, replacements, format.metadata, headers),
    replacements,
    write: (lane, { name }, places, report) =>
      encodeMatrix(lane, format, index, name, chosen.get(name)!, { metric, seed, report }, places),
    keyOf({ name }) {
      const { hash, rows: height, cols } = rows.get(name)!;
      const { dtype } = index.byName.get(name)!;
      return {
        ...{ format: format.label, dtype, hash, rows: height, cols, option: chosen.get(name), seed },
        metric: { ...metric.recipe, statistics: metric.of(name).hash },
      };
    },
  };
}

async function writePlan(
  context: PipelineContext,
  format: IntegerFormat,
  opened: Opened,
  headers: readonly number[],
  job: WriteJob,
): Promise<Written> {
  const { table, plan, metric, out, overwrite } = job;
  const { index } = opened;
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  const chosen = new Map(plan.matrices.map(({ name, option }) => [name, option]));
  const replaced = replacing(format, opened, headers, job);
  const bytes = replaced.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  if (bytes !== plan.bytes)
    throw new LqError('internal', `The files would have ${bytes} bytes, the plan says ${plan.bytes}.`);
  const schemes = new Map([...chosen].map(([name, option]) => [name, format.schemeOf(option, rows.get(name)!.cols)!]));
  const written = await writeReplaced<Errors>(context, {
    ...replaced,
    config: text =>
      quantizedConfig(text, joinPath(index.folder, 'config.json'), format.config(schemes, ignored(index, chosen))),
    readme: recipeReadme({
      label: index.label,
      format: format.label,
      matrices: [...chosen].map(([name, option]) => ({ name, label: describeOption(option) })),
      load: format.load,
    }),
    out,
    overwrite,
    fingerprint: [metric.recipe, table.recipe.seed, [...chosen]],
    meant: records => ({
      format: format.label,
      load: format.load,
      stored: storedAs(format, index, chosen),
      squaredErrors: new Map([...records].map(([name, { squaredError }]) => [name, squaredError])),
    }),
  });
  return {
    bytes,
    delivered: written.delivered,
    matrices: plan.matrices.map(({ name }) => {
      const error = Math.sqrt(written.records.get(name)!.cost / (rows.get(name)!.weightedNorm || 1));
      return { name, errorLq: error, errorStored: error };
    }),
  };
}

/** The folder as it reads back. */
function storedAs(
  { format, schemeOf, typeOf = ({ bits, size }) => `INT${bits} g${size}` }: IntegerFormat,
  index: CheckpointIndex,
  chosen: ReadonlyMap<string, Option>,
): StoredModel {
  const model = storedModel(index);
  return withStored(
    model,
    new Map(
      model.weights.flatMap(({ name, shape }) => {
        const option = chosen.get(name);
        const scheme = option && schemeOf(option, shape.at(-1) ?? 0);
        return scheme ? [[name, { format, dtype: typeOf(scheme, shape.at(-1) ?? 0) }] as const] : [];
      }),
    ),
  );
}

/** Under the metric, and plain. */
interface Errors {
  readonly cost: number;
  readonly squaredError: number;
}

interface Encoding {
  readonly metric: WriteJob['metric'];
  readonly seed: number;
  readonly report: ItemReport;
}

/** Encodes a matrix to its places. */
async function encodeMatrix(
  lane: PipelineContext,
  format: IntegerFormat,
  index: CheckpointIndex,
  name: string,
  option: Option,
  { metric, seed, report }: Encoding,
  places: ReadonlyMap<string, PlacedTensor>,
): Promise<Errors> {
  const tensor = index.byName.get(name)!;
  const source = tensorSource(tensor);
  const tensors = tensorsOf(format, name, option, source.rows, source.cols);
  const placeOf = (spec: TensorSpec): PlacedTensor => places.get(spec.name)!;
  const own = metric.of(name);
  const { cost, storedSquaredError } = await callNative(
    lane,
    { file: tensor.file, tensor: name },
    control =>
      lane.native.encode(
        lane.device,
        source,
        nativeOption(option, format.book),
        { metric: own.native, seed },
        {
          ...(format.highFirst && { highFirst: true }),
          parts: { codes: placeOf(tensors.codes), group_scales: placeOf(tensors.scales) },
        },
        control,
      ),
    (finished, all) => report(finished / all),
  );
  await format.complete?.(lane, format.schemeOf(option, source.cols)!, tensors, placeOf);
  return { cost: own.scale * cost, squaredError: storedSquaredError };
}

/** Modules that keep their weights and that a loader might take for linear ones. */
function ignored(index: CheckpointIndex, chosen: ReadonlyMap<string, Option>): string[] {
  const kept = logicalTensors(index).flatMap(({ name, shape, role }) =>
    shape.length === 2 && role !== 'embedding' && name.endsWith('.weight') && !chosen.has(name) ? [moduleOf(name)] : [],
  );
  return [...new Set([...kept, 'lm_head'])];
}
