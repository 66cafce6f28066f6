/** Opening what requests name. */
import { logicalTensors } from './logical/logical';
import { openCheckpoint } from './logical/open';
import { selectTargets } from './logical/targets';
import type { CheckpointIndex, LogicalTensor } from './checkpoint/types';
import type { FileSystem } from './files/types';
import { LqError } from './errors';

export interface Opened {
  index: CheckpointIndex;
  targets: LogicalTensor[];
}

/** Opens a checkpoint for work: complete, and with something to compress. */
export async function open(
  files: FileSystem,
  request: { model: string; include?: readonly string[]; exclude?: readonly string[] },
): Promise<Opened> {
  const index = await openComplete(files, request.model);
  return { index, targets: selectTargets(logicalTensors(index), request.include, request.exclude) };
}

/** Opens a checkpoint and refuses one with faults that inspection would only show. */
export async function openComplete(files: FileSystem, path: string): Promise<CheckpointIndex> {
  const index = await openCheckpoint(files, path);
  const fault = index.problems.find(problem => problem.severity === 'error');
  if (fault === undefined) return index;
  const code = fault.code === 'shard-missing' ? 'shard-missing' : 'shard-disagrees';
  throw new LqError(code, fault.message, {
    file: fault.file ?? index.path,
    ...(fault.tensor !== undefined && { tensor: fault.tensor }),
  });
}

/** Tensor bytes that are not targets and stay as they are. */
export function keptBytes({ index, targets }: Opened): number {
  return index.bytes - targets.reduce((sum, target) => sum + target.bytes, 0);
}
