/**
 * The embedding and the head in the program. They are most of a small model's small file, and no calibration statistics
 * speak of them: what an error of theirs costs is measured, by the loss on the calibration text with a coarse copy.
 */
import { contentHash } from '../../checkpoint/sources';
import { callNative, throwIfCancelled, type PipelineContext } from '../../context';
import { describeModel } from '../../evaluation/language-model';
import { windowLosses } from '../../evaluation/perplexity';
import type { Windows } from '../../evaluation/windows';
import { joinPath } from '../../files/paths';
import { logicalTensors } from '../../logical/logical';
import { weightLookup } from '../../logical/lookup';
import type { DenseSource, GgufSource } from '../../native';
import { ggufOption } from '../../options/methods/gguf';
import { bytesOfPart } from '../../options/parts';
import { optionFits, optionParts } from '../../options/option';
import type { Option } from '../../options/types';
import type { BlockType } from '../../dtypes';
import type { SweepRow, SweepTable } from '../../sensitivity/types';
import type { LogicalTensor } from '../../checkpoint/types';
import type { GgufModel } from './layout';

/** Types whose error shows in the loss and is still small; the first that fits. */
const PROBES: readonly BlockType[] = ['Q3_K', 'Q4_0'];
/** A loss that does not rise, or by chance falls, still leaves errors a price. */
const LEAST_RISE = 1e-4;

/** The embedding and the head, where they are dense and some option fits. @param blocks what the sweep measures */
export function outerMatrices(
  { index, weights }: GgufModel,
  blocks: ReadonlySet<string>,
  options: readonly Option[],
): (GgufModel['weights'][number] & { readonly source: DenseSource; readonly tensor: LogicalTensor })[] {
  const logical = new Map(logicalTensors(index).map(tensor => [tensor.name, tensor]));
  return weights.flatMap(({ name, source }) => {
    const tensor = logical.get(name);
    if (source.rows === 1 || source.kind !== 'dense' || blocks.has(name) || !isOuter(tensor)) return [];
    return options.some(option => optionFits(option, source.rows, source.cols)) ? [{ name, source, tensor }] : [];
  });
}

const isOuter = (tensor: LogicalTensor | undefined): tensor is LogicalTensor =>
  tensor !== undefined && (tensor.role === 'embedding' || tensor.role === 'head');

/** The sweep of the blocks' matrices with rows for embedding and head, in the same units. */
export async function withOuterMatrices(
  context: PipelineContext,
  model: GgufModel,
  table: SweepTable,
  windows: Windows | undefined,
): Promise<SweepTable> {
  const rows: SweepRow[] = [];
  const outer = outerMatrices(model, new Set(table.matrices.map(({ name }) => name)), table.options);
  const base = windows && outer.length > 0 ? await meanLoss(context, model, windows) : undefined;
  for (const { tensor, source } of outer) {
    throwIfCancelled(context);
    rows.push(await outerRow(context, model, table, tensor, source, windows, base));
  }
  return { ...table, matrices: [...table.matrices, ...rows] };
}

async function outerRow(
  context: PipelineContext,
  model: GgufModel,
  table: SweepTable,
  tensor: LogicalTensor,
  source: DenseSource,
  windows: Windows | undefined,
  base: number | undefined,
): Promise<SweepRow> {
  const { rows, cols } = source;
  const where = { file: source.path, tensor: tensor.name };
  const fitting = table.options.filter(option => optionFits(option, rows, cols));
  const { squaredErrors, norm } = await callNative(context, where, control =>
    context.native.encodeCosts(
      context.device,
      source,
      [...fitting],
      { metric: { kind: 'plain' }, seed: context.seed },
      control,
    ),
  );
  const price =
    windows && base !== undefined
      ? await measuredPrice(context, model, tensor.name, source, windows, base)
      : averagePrice(table);
  const errors = table.options.map(option => {
    const at = fitting.indexOf(option);
    return at < 0 ? null : squaredErrors[at]!;
  });
  return {
    name: tensor.name,
    role: tensor.role,
    layer: tensor.layer,
    rows,
    cols,
    hash: await contentHash(context, tensor),
    costs: errors.map(error => error && error * price),
    squaredErrors: errors,
    predicted: [],
    norm,
    weightedNorm: norm * price,
  };
}

/** Without a text: what an error in the blocks costs on average. */
function averagePrice({ matrices }: SweepTable): number {
  const sum = (of: (row: SweepRow) => number): number => matrices.reduce((total, row) => total + of(row), 0);
  return sum(row => row.weightedNorm) / sum(row => row.norm);
}

/**
 * The cost of a unit of squared error, from the rise in loss d of a copy with the error e^2. Fisher information F here is of
 * a window's mean loss over T tokens, a T-th of a token's, and a loss rises by half of the token's F times e^2: the unit
 * costs 2 d / (T e^2).
 */
async function measuredPrice(
  context: PipelineContext,
  model: GgufModel,
  name: string,
  source: DenseSource,
  windows: Windows,
  base: number,
): Promise<number> {
  const { rows, cols } = source;
  const type = PROBES.find(each => optionFits(ggufOption(each), rows, cols));
  if (type === undefined) return 1;
  const option = ggufOption(type);
  const bytes = optionParts(option, rows, cols).reduce((sum, part) => sum + bytesOfPart(part), 0);
  const path = joinPath(context.cache, `probe-${context.digest(`${source.path} ${name}`)}`);
  await context.files.makeFolder(context.cache);
  await context.files.allocate(path, bytes, new Uint8Array(0));
  try {
    const range = { path, offset: 0, bytes };
    const { squaredError } = await callNative(context, { file: path, tensor: name }, control =>
      context.native.encode(
        context.device,
        source,
        option,
        { metric: { kind: 'plain' }, seed: context.seed },
        { parts: { codes: range } },
        control,
      ),
    );
    const probe: GgufSource = { kind: 'gguf', type, rows, cols, range };
    const rise = (await meanLoss(context, model, windows, { name, probe })) - base;
    return (2 * Math.max(rise, LEAST_RISE)) / (windows.context * squaredError);
  } finally {
    await context.files.remove(path);
  }
}

async function meanLoss(
  context: PipelineContext,
  { index }: GgufModel,
  windows: Windows,
  changed?: { name: string; probe: GgufSource },
): Promise<number> {
  const own = weightLookup(index);
  const lookup = (name: string) => (name === changed?.name ? changed.probe : own(name));
  const losses = await windowLosses(context, describeModel(index, { lookup }), windows);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}
