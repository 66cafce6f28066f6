/** Our own format: every option of every method, and its sizes as they are stored. */
import type { CheckpointIndex } from '../../checkpoint/types';
import { decompose, matricesOf, packedPieces } from '../../decomposition/decompose';
import { keptBytes, type Opened } from '../../opened';
import { optionFits, packedBytes, shortLabel } from '../../options/option';
import type { Option } from '../../options/types';
import { headerRoom } from '../../packed/layout';
import { DEFAULTS } from '../../requests/defaults';
import type { CompressRequest } from '../../requests/requests';
import type { PipelineContext } from '../../context';
import { readBack } from '../delivered';
import { storedModel, withStored, type StoredModel } from '../loads/stored';
import { recipeReadme } from '../readme';
import { packedFormat } from './exporter';
import { keptBeside, type PreparedTarget, type Sizes, type Target, type WriteJob, type Written } from '../target';

export const packedTarget: Target = {
  stages: ['decompose'],
  layerOrder: true,
  embeddings: 'asked',
  prepare: (_, opened, options, request) =>
    Promise.resolve({
      ...preparePacked(opened, options, request),
      write: (context, job) => job.timed('decompose', () => writePacked(context, opened, options, job)),
    }),
};

/** A packed checkpoint of a plan's size: headers have room for the longest that a plan could give. */
export function preparePacked(
  opened: Opened,
  options: readonly Option[],
  { factors = DEFAULTS.factors }: Pick<CompressRequest, 'factors'>,
): Omit<PreparedTarget, 'write'> {
  const headers = headersOf(opened, options);
  const sizes: Sizes = {
    kept: headers.reduce((sum, bytes) => sum + bytes, keptBytes(opened)),
    matrices: opened.targets.map(({ name, shape: [rows = 1, cols = 1] }) => ({ name, rows, cols })),
    // A rank beyond a matrix's is refused by name (preflight), not as a size.
    bytesOf: (option, rows, cols) => packedBytes(option, rows, cols, factors),
  };
  return {
    opened,
    notes: [],
    sizes,
    pieces(_, job) {
      const encoding = { index: opened.index, ...job };
      return packedPieces(encoding, matricesOf(encoding));
    },
    stored: chosen => packedStored(opened.index, chosen),
    complete(_, table) {
      return Promise.resolve({
        ...table,
        model: { ...table.model, keptBytes: keptBeside(sizes, opened.targets, table) },
      });
    },
  };
}

const headersOf = ({ index, targets }: Opened, options: readonly Option[]): number[] =>
  headerRoom(
    index,
    targets.map(({ name, shape: [rows = 1, cols = 1] }) => {
      const fitting = options.filter(option => optionFits(option, rows, cols));
      return { name, options: fitting.length > 0 ? fitting : options };
    }),
  );

/** A packed folder as it reads back. */
const packedStored = (index: CheckpointIndex, chosen: ReadonlyMap<string, Option>): StoredModel =>
  withStored(
    storedModel(index),
    new Map([...chosen].map(([name, option]) => [name, { format: 'lq', dtype: shortLabel(option) }] as const)),
  );

export async function writePacked(
  context: PipelineContext,
  opened: Opened,
  options: readonly Option[],
  { table, plan, metric, secondPass, out, overwrite }: Omit<WriteJob, 'timed'>,
): Promise<Written> {
  const { index } = opened;
  const { label } = index;
  const { format, load } = packedFormat;
  const written = await decompose(context, {
    index,
    table,
    plan,
    metric,
    headers: headersOf(opened, options),
    ...(secondPass && { secondPass }),
    readme: recipeReadme({ label, format, matrices: plan.matrices, load }),
    out,
    overwrite,
  });
  const chosen = new Map(plan.matrices.map(({ name, option }) => [name, option]));
  const meant = { format, load, stored: packedStored(index, chosen), squaredErrors: new Map<string, number>() };
  return { ...written, delivered: await readBack(context, out, index, meant) };
}
