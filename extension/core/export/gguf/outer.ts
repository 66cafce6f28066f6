/** The embedding and the head in the program: they are most of a small model's small file. */
import { knownHash } from '../../checkpoint/sources';
import { backendOf, callNative, throwIfCancelled, type PipelineContext } from '../../context';
import type { Windows } from '../../evaluation/windows';
import { logicalTensors } from '../../logical/logical';
import { isDtype } from '../../dtypes';
import type { DenseSource } from '../../native';
import { optionFits } from '../../options/option';
import type { Option } from '../../options/types';
import { measuredPrices } from '../../sensitivity/prices';
import type { SweepRow, SweepTable } from '../../sensitivity/types';
import type { LogicalTensor } from '../../checkpoint/types';
import { cachedOnce, waitReporter } from '../../storage/cache';
import type { GgufModel } from './layout';

/** The embedding and the head, where they are dense and some option fits. @param blocks what the sweep measures */
export function outerMatrices(
  { index, weights }: GgufModel,
  blocks: ReadonlySet<string>,
  options: readonly Option[],
): (GgufModel['weights'][number] & { readonly source: DenseSource; readonly tensor: LogicalTensor })[] {
  const logical = new Map(logicalTensors(index).map(tensor => [tensor.name, tensor]));
  return weights.flatMap(weight => {
    const { name, source } = weight;
    const tensor = logical.get(name);
    if (source.rows === 1 || source.kind !== 'dense' || blocks.has(name) || !isOuter(tensor)) return [];
    return options.some(option => blockFits(option, source.rows, source.cols)) ? [{ ...weight, source, tensor }] : [];
  });
}

/** Whether an option's blocks divide the rows of a matrix; a float fits any, and needs no program. */
export const blockFits = (option: Option, rows: number, cols: number): boolean =>
  option.grid.kind === 'gguf' && !isDtype(option.grid.type) && optionFits(option, rows, cols);

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
  const tensors = outer.map(({ tensor }) => tensor);
  const prices = windows && (await measuredPrices(context, model.index, tensors, windows));
  for (const { tensor, source } of outer) {
    throwIfCancelled(context);
    rows.push(await outerRow(context, table, tensor, source, prices?.get(tensor.name) ?? averagePrice(table)));
  }
  return { ...table, matrices: [...table.matrices, ...rows] };
}

async function outerRow(
  context: PipelineContext,
  table: SweepTable,
  tensor: LogicalTensor,
  source: DenseSource,
  price: number,
): Promise<SweepRow> {
  const { rows, cols } = source;
  const where = { file: source.path, tensor: tensor.name };
  const fitting = table.options.filter(option => optionFits(option, rows, cols));
  const hash = await knownHash(context, tensor);
  const key = { version: 1, backend: backendOf(context), hash, rows, cols, seed: context.seed, fitting };
  const found = await cachedOnce<{ squaredErrors: number[]; norm: number }>(context, 'price', key, {
    async make() {
      const { squaredErrors, norm } = await callNative(context, where, control =>
        context.native.encodeCosts(
          context.device,
          source,
          [...fitting],
          { metric: { kind: 'plain' }, seed: context.seed },
          control,
        ),
      );
      return { squaredErrors: [...squaredErrors], norm };
    },
    onWait: waitReporter(context, 'sweep', tensor.name),
  });
  const { squaredErrors, norm } = found!;
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
    hash,
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
