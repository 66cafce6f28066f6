/**
 * Targets of programs that store the parts of an encoded matrix each as its own tensor in the matrix's place: the option is
 * chosen by the program. What differs is which options there are, how tensors are called and what is said beside them.
 */
import { tensorBytes, type TensorSpec } from '../../checkpoint/serialize';
import { tensorSource } from '../../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, StorageFormat } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { inOrder, MOMENTS_FILE } from '../../decomposition/decompose';
import { forgetEncoded, placePieces, type Placing } from '../../decomposition/encoded';
import { encodeInOrder, orderedPieces, type OrderedEncoding } from '../../decomposition/second-pass';
import { LqError } from '../../errors';
import type { ItemReport } from '../../lanes';
import { joinPath } from '../../files/paths';
import { logicalTensors } from '../../logical/logical';
import { withoutTargets } from '../../logical/targets';
import type { Opened } from '../../opened';
import type { EncodedPart, EncodedSource, NativeBook } from '../../native';
import { nativeOption } from '../../options/native-option';
import { describeOption, optionParts } from '../../options/option';
import type { Option } from '../../options/types';
import type { SweepRow } from '../../sensitivity/types';
import type { PackedLayout } from '../../packed/layout';
import { partialFolder } from '../../storage/output';
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

/** Type and shape of a part as it is encoded. */
export type StoredPart = (part: EncodedPart) => Pick<TensorSpec, 'dtype' | 'shape'>;

/** The tensors of a matrix [rows, cols]. */
export interface CodedTensors {
  /** Those that encoding fills. */
  readonly parts: Readonly<Partial<Record<EncodedPart, TensorSpec>>>;
  readonly others: readonly TensorSpec[];
}

/** What the format makes of a matrix. */
export interface Coded<Scheme> {
  readonly scheme: Scheme;
  readonly tensors: CodedTensors;
}

/** @typeParam Scheme what of an option the format's files say */
export interface CodedFormat<Scheme> {
  readonly label: string;
  /** As inspection recognises it. */
  readonly format: StorageFormat;
  readonly load: readonly Lines[];
  /** What a matrix that has no scheme lacks. */
  readonly need: string;
  /** How inspection names a scheme. */
  typeOf(scheme: Scheme, cols: number): string;
  /** Levels, where they are not those of this program. */
  readonly book?: NativeBook;
  /** Codes of 4 bits have the first of a byte in its high half. */
  readonly highFirst?: true;
  /** Of every safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The scheme of an option for a matrix of this shape, undefined where the format has none. */
  schemeOf(option: Option, rows: number, cols: number): Scheme | undefined;
  tensorsOf(matrix: string, scheme: Scheme, stored: StoredPart, rows: number, cols: number): CodedTensors;
  /** Content of those of the others that no weight decides. @param dtype of the dense matrix */
  constantsOf(
    tensors: CodedTensors,
    rows: number,
    cols: number,
    scheme: Scheme,
    dtype: string,
  ): ReadonlyMap<string, Uint8Array>;
  /** Writes the rest of the others, from what was encoded. */
  complete?(lane: PipelineContext, scheme: Scheme, tensors: CodedTensors, placeOf: PlaceOf): Promise<void>;
  /** Whether matrices are encoded in layer order where that is asked for: of formats with levels of this program and nothing to complete. */
  readonly layerOrder?: true;
  /** Whether a head that is no copy of the embedding has such tensors too. */
  readonly head?: true;
  /** What matrices must share an option, if any. */
  tieOf?(row: Pick<SweepRow, 'name' | 'role'>): string | undefined;
  /** Entries of config.json. `ignored`: linear modules that stay as they are. */
  config(matrices: ReadonlyMap<string, Coded<Scheme>>, ignored: readonly string[]): Readonly<Record<string, unknown>>;
}

export type PlaceOf = (tensor: TensorSpec) => PlacedTensor;

/** Name of a matrix's module. */
export const moduleOf = (matrix: string): string => matrix.replace(/\.weight$/, '');

export const codedTarget = <Scheme>(format: CodedFormat<Scheme>): Target => ({
  stages: ['export'],
  layerOrder: format.layerOrder ?? false,
  embeddings: format.head ? 'asked' : 'never',
  prepare: (_, found, options) => Promise.resolve(prepare(format, found, options)),
});

/** What the format makes of a matrix under an option that it has. */
function codedAs<Scheme>(
  format: CodedFormat<Scheme>,
  matrix: string,
  option: Option,
  rows: number,
  cols: number,
): Coded<Scheme> {
  const scheme = format.schemeOf(option, rows, cols)!;
  const parts = optionParts(option, rows, cols);
  const stored: StoredPart = part => {
    const { dtype, shape } = parts.find(({ name }) => name === part)!;
    return { dtype, shape };
  };
  return { scheme, tensors: format.tensorsOf(matrix, scheme, stored, rows, cols) };
}

const listOf = ({ parts, others }: CodedTensors): TensorSpec[] => [...Object.values(parts), ...others];

function prepare<Scheme>(format: CodedFormat<Scheme>, found: Opened, options: readonly Option[]): PreparedTarget {
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
            costs: row.costs.map((cost, i) => (format.schemeOf(table.options[i]!, row.rows, row.cols) ? cost : null)),
            ...(tie !== undefined && { tie }),
          };
        }),
      }),
    pieces: (_, job) => replacedPieces(replacing(format, opened, headers, job), 'out'),
    write: (context, job) => job.timed('export', () => writePlan(context, format, opened, headers, job)),
  };
}

/** @throws LqError 'no-targets' when there is nothing that the format holds. */
function fittingTargets<Scheme>(
  format: CodedFormat<Scheme>,
  found: Opened,
  options: readonly Option[],
): { opened: Opened; notes: string[] } {
  const { targets } = found;
  const isModule = ({ name, role, transposed }: LogicalTensor): boolean =>
    name.endsWith('.weight') && !transposed && role !== 'embedding';
  const fits = ({ shape: [rows = 0, cols = 0] }: LogicalTensor): boolean =>
    options.some(option => format.schemeOf(option, rows, cols) !== undefined);
  const fitting = targets.filter(target => isModule(target) && fits(target));
  const foreign = targets.filter(target => !isModule(target));
  const odd = targets.filter(target => isModule(target) && !fits(target));
  const named = (list: readonly LogicalTensor[]): string =>
    `${list.length} of ${targets.length} matrices (${list[0]!.name}, ${list[0]!.shape.join(' x ')})`;
  const left = [
    { list: foreign, lacks: 'a linear module of its own' },
    { list: odd, lacks: format.need },
  ].filter(({ list }) => list.length > 0);
  const said = left.map(({ list, lacks }) => `${format.label} needs ${lacks}, and ${named(list)} have none`);
  if (fitting.length === 0) throw new LqError('no-targets', `Nothing to compress: ${said.join('; ')}.`);
  const dropped = left.flatMap(({ list, lacks }) => list.map(target => ({ target, reason: `without ${lacks}` })));
  return {
    opened: { ...found, targets: fitting, coverage: withoutTargets(found.coverage, dropped) },
    notes: said.map(text => `${text}: they stay as they are.`),
  };
}

/** Sizes of the safetensors files; headers have room for the longest that a plan could give. */
function sizesOf<Scheme>(
  format: CodedFormat<Scheme>,
  { index, targets }: Opened,
  options: readonly Option[],
): { sizes: Sizes; headers: number[] } {
  const matrices = targets.map(({ name, shape: [rows = 1, cols = 1] }) => ({ name, rows, cols }));
  const tensors = (name: string, option: Option, rows: number, cols: number): TensorSpec[] =>
    listOf(codedAs(format, name, option, rows, cols).tensors);
  const bytesOf: Sizes['bytesOf'] = (option, rows, cols) =>
    format.schemeOf(option, rows, cols) &&
    tensors('', option, rows, cols).reduce((sum, spec) => sum + tensorBytes(spec), 0);
  const widest = matrices.map(({ name, rows, cols }) => {
    const all = options
      .filter(option => format.schemeOf(option, rows, cols))
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
function replacing<Scheme>(
  format: CodedFormat<Scheme>,
  { index }: Opened,
  headers: readonly number[],
  { table, plan, metric }: Pick<WriteJob, 'table' | 'plan' | 'metric'>,
): Pick<ReplacingJob<Errors>, 'index' | 'shards' | 'replacements' | 'write' | 'keyOf'> & {
  readonly coded: ReadonlyMap<string, Coded<Scheme>>;
} {
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  const chosen = new Map(plan.matrices.map(({ name, option }) => [name, option]));
  const { seed } = table.recipe;
  const coded = new Map(
    plan.matrices.map(({ name, option }) => {
      const { rows: height, cols } = rows.get(name)!;
      return [name, codedAs(format, name, option, height, cols)] as const;
    }),
  );
  const replacements = [...coded].map(([name, { scheme, tensors }]): Replacement => {
    const { rows: height, cols } = rows.get(name)!;
    return {
      name,
      weights: height * cols,
      tensors: listOf(tensors),
      constants: format.constantsOf(tensors, height, cols, scheme, index.byName.get(name)!.dtype),
    };
  });
  return {
    coded,
    index,
    shards: shardsOf(index, replacements, format.metadata, headers),
    replacements,
    write: (lane, { name }, places, report) =>
      encodeMatrix(
        lane,
        format,
        index,
        { name, option: chosen.get(name)!, ...coded.get(name)! },
        { metric, seed, report },
        places,
      ),
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

async function writePlan<Scheme>(
  context: PipelineContext,
  format: CodedFormat<Scheme>,
  opened: Opened,
  headers: readonly number[],
  job: WriteJob,
): Promise<Written> {
  const { table, plan, metric, secondPass, out, overwrite } = job;
  const { index } = opened;
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  const chosen = new Map(plan.matrices.map(({ name, option }) => [name, option]));
  const { coded, ...replaced } = replacing(format, opened, headers, job);
  const bytes = replaced.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  if (bytes !== plan.bytes)
    throw new LqError('internal', `The files would have ${bytes} bytes, the plan says ${plan.bytes}.`);
  let ordered: OrderedEncoding | undefined;
  const written = await writeReplaced<Errors>(context, {
    ...replaced,
    ...(secondPass && {
      async writeInOrder(places, placing) {
        const matrices = plan.matrices.map(({ name, option }) =>
          placedMatrix(index, name, option, coded.get(name)!.tensors, table.recipe.seed, places),
        );
        const split = inOrder({ index, table, plan, metric }, secondPass, matrices);
        ({ ordered } = split);
        const alone = new Set(split.alone.map(({ name }) => name));
        const pieces = replacedPieces(replaced, partialFolder(out)).filter(({ name }) => alone.has(name));
        await placePieces(context, { ...placing, pieces });
        await writeOrdered(context, ordered, placing, joinPath(partialFolder(out), MOMENTS_FILE));
      },
    }),
    config: text =>
      quantizedConfig(text, joinPath(index.folder, 'config.json'), format.config(coded, ignored(index, chosen))),
    readme: recipeReadme({
      label: index.label,
      format: format.label,
      matrices: [...chosen].map(([name, option]) => ({ name, label: describeOption(option) })),
      load: format.load,
    }),
    out,
    overwrite,
    fingerprint: [
      metric.recipe,
      table.recipe.seed,
      [...chosen],
      ...(secondPass ? [secondPass.alpha, context.digest(secondPass.windows.tokens.join())] : []),
    ],
    meant: records => ({
      format: format.label,
      load: format.load,
      stored: storedAs(format, index, chosen),
      squaredErrors: new Map([...records].map(([name, { squaredError }]) => [name, squaredError])),
    }),
  });
  if (ordered) await forgetEncoded(context, await orderedPieces(context, ordered));
  return {
    bytes,
    delivered: written.delivered,
    matrices: plan.matrices.map(({ name }) => {
      const error = Math.sqrt(written.records.get(name)!.cost / (rows.get(name)!.weightedNorm || 1));
      return { name, errorLq: error, errorStored: error };
    }),
  };
}

type Matrix = PackedLayout['matrices'][number];

/** A matrix in its place. Parts are in the order of the packed format: workers encode them for any output. */
function placedMatrix(
  index: CheckpointIndex,
  name: string,
  option: Option,
  { parts }: CodedTensors,
  seed: number,
  places: ReadonlyMap<string, PlacedTensor>,
): Matrix {
  const tensor = index.byName.get(name)!;
  const { rows, cols } = tensorSource(tensor);
  const ranges = optionParts(option, rows, cols).map(part => {
    const { path, offset, bytes } = places.get(parts[part.name]!.name)!;
    return [part.name, { path, offset, bytes }] as const;
  });
  const source: EncodedSource = {
    ...{ kind: 'encoded', rows, cols, seed, option: nativeOption(option) },
    parts: Object.fromEntries(ranges),
  };
  return { name, tensor, option, shard: '', source };
}

async function writeOrdered(
  context: PipelineContext,
  ordered: OrderedEncoding,
  { stage, isDone, requireHeld, markDone }: Omit<Placing<Errors>, 'pieces'>,
  moments: string,
): Promise<void> {
  const byName = new Map(ordered.matrices.map(matrix => [matrix.name, matrix]));
  await encodeInOrder(
    { ...context, report: progress => context.report({ ...progress, stage }) },
    ordered,
    {
      isDone,
      requireHeld,
      async markDone(name, { storedCost }) {
        const { tensor, source } = byName.get(name)!;
        // Its own errors are those of a target that makes up for the matrices before it.
        const { squaredError } = await callNative(context, { file: tensor.file, tensor: name }, control =>
          context.native.difference(context.device, tensorSource(tensor), source, 1, 1, control),
        );
        await markDone(name, { cost: storedCost, squaredError });
      },
    },
    moments,
  );
}

/** The folder as it reads back. */
function storedAs<Scheme>(
  { format, schemeOf, typeOf }: CodedFormat<Scheme>,
  index: CheckpointIndex,
  chosen: ReadonlyMap<string, Option>,
): StoredModel {
  const model = storedModel(index);
  return withStored(
    model,
    new Map(
      model.weights.flatMap(({ name, shape }) => {
        const option = chosen.get(name);
        const [rows = 0, cols = 0] = shape;
        const scheme = option && schemeOf(option, rows, cols);
        return scheme ? [[name, { format, dtype: typeOf(scheme, cols) }] as const] : [];
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
async function encodeMatrix<Scheme>(
  lane: PipelineContext,
  format: CodedFormat<Scheme>,
  index: CheckpointIndex,
  { name, option, scheme, tensors }: Coded<Scheme> & { readonly name: string; readonly option: Option },
  { metric, seed, report }: Encoding,
  places: ReadonlyMap<string, PlacedTensor>,
): Promise<Errors> {
  const tensor = index.byName.get(name)!;
  const placeOf = (spec: TensorSpec): PlacedTensor => places.get(spec.name)!;
  const parts = Object.fromEntries(Object.entries(tensors.parts).map(([part, spec]) => [part, placeOf(spec)]));
  const own = metric.of(name);
  const { cost, storedSquaredError } = await callNative(
    lane,
    { file: tensor.file, tensor: name },
    control =>
      lane.native.encode(
        lane.device,
        tensorSource(tensor),
        nativeOption(option, format.book),
        { metric: own.native, seed },
        { ...(format.highFirst && { highFirst: true }), parts },
        control,
      ),
    (finished, all) => report(finished / all),
  );
  await format.complete?.(lane, scheme, tensors, placeOf);
  return { cost: own.scale * cost, squaredError: storedSquaredError };
}

/** Modules that keep their weights and that a loader might take for linear ones. */
function ignored(index: CheckpointIndex, chosen: ReadonlyMap<string, Option>): string[] {
  const kept = logicalTensors(index).flatMap(({ name, shape, role }) =>
    shape.length === 2 && role !== 'embedding' && name.endsWith('.weight') && !chosen.has(name) ? [moduleOf(name)] : [],
  );
  return [...new Set([...kept, 'lm_head'])];
}
