/** Opening what requests name, and the options they mean. */
import { DEFAULTS } from './requests/defaults';
import type { MethodRequest } from './requests/requests';
import { logicalTensors } from './logical/logical';
import { openCheckpoint } from './logical/open';
import { selectTargets } from './logical/targets';
import type { CheckpointIndex, LogicalTensor } from './checkpoint/types';
import type { FileSystem } from './files/types';
import { LqError } from './errors';
import { findMethod, methodOptions } from './options/methods/registry';
import type { Option } from './options/types';

/** The options of a request: those of its method. @throws LqError 'usage' for what the method does not have. */
export const optionsOf = ({ method, ranks, grid, states, tailBiting }: MethodRequest): Option[] =>
  methodOptions(findMethod(method ?? DEFAULTS.method), {
    ...(ranks !== undefined && { ranks }),
    ...(grid !== undefined && { grid }),
    ...(states !== undefined && { states }),
    ...(tailBiting !== undefined && { tailBiting }),
  });

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
