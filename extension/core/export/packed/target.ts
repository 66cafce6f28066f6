/** Our own format: every option of every method, and its sizes as they are stored. */
import { decompose } from '../../decomposition/decompose';
import type { CheckpointIndex } from '../../checkpoint/types';
import { keptBytes, type Opened } from '../../opened';
import { packedBytes } from '../../options/option';
import { DEFAULTS } from '../../requests/defaults';
import type { CompressRequest } from '../../requests/requests';
import type { PipelineContext } from '../../context';
import type { PreparedTarget, Sizes, Target, WriteJob, Written } from '../target';

export const packedTarget: Target = {
  stages: ['decompose'],
  layerOrder: true,
  prepare: (_, opened, __, request) => Promise.resolve(preparePacked(opened, request)),
};

export function preparePacked(opened: Opened, { factors }: Pick<CompressRequest, 'factors'>): PreparedTarget {
  return {
    opened,
    notes: [],
    sizes: packedSizes(opened, factors ?? DEFAULTS.factors),
    complete: (_, table) => Promise.resolve(table),
    write: (context, job) => job.timed('decompose', () => writePacked(context, opened.index, job)),
  };
}

function packedSizes(opened: Opened, factors: Parameters<typeof packedBytes>[3]): Sizes {
  return {
    kept: keptBytes(opened),
    matrices: opened.targets.map(({ name, shape: [rows = 1, cols = 1] }) => ({ name, rows, cols })),
    // A rank beyond a matrix's is refused by name (preflight), not as a size.
    bytesOf: (option, rows, cols) => packedBytes(option, rows, cols, factors),
  };
}

export const writePacked = (
  context: PipelineContext,
  index: CheckpointIndex,
  { table, plan, metric, secondPass, out, overwrite }: Omit<WriteJob, 'hold' | 'timed'>,
): Promise<Written> =>
  decompose(context, { index, table, plan, metric, ...(secondPass && { secondPass }), out, overwrite });
