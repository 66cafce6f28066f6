/** Opening what requests name. */
import { logicalTensors } from './logical/logical';
import { openCheckpoint } from './logical/open';
import { sliceTensors } from './checkpoint/slices';
import { coverageOf, selectTargets, type Coverage } from './logical/targets';
import type { CheckpointIndex, LogicalTensor } from './checkpoint/types';
import type { FileSystem } from './files/types';
import { LqError } from './errors';
import type { Option } from './options/types';

export interface Opened {
  /** With tensors that hold several targets as those: see `sliceTensors`. */
  index: CheckpointIndex;
  targets: LogicalTensor[];
  coverage: Coverage;
}

/**
 * Opens a checkpoint for work: complete, and with something to compress.
 * @param options what its matrices can become: one that is narrower than the rank of every option is left out
 */
export async function open(
  files: FileSystem,
  request: { model: string; include?: readonly string[]; exclude?: readonly string[] },
  options: readonly Option[] = [],
): Promise<Opened> {
  const whole = await openComplete(files, request.model);
  const logical = logicalTensors(whole);
  const selected = selectTargets(logical, request.include, request.exclude);
  const rank = Math.min(...options.map(option => option.rank));
  const narrow = selected.filter(({ shape }) => options.length > 0 && Math.min(...shape) < rank);
  // Where nothing would be left it is the rank that is wrong, which is told by whoever needs it.
  const left = narrow.length < selected.length ? narrow : [];
  const targets = selected.filter(target => !left.includes(target));
  const reasons = new Map(left.map(({ name }) => [name, `narrower than the rank of ${rank}`]));
  const index = sliceTensors(
    whole,
    targets.map(({ name }) => name),
  );
  return { index, targets, coverage: coverageOf(logical, targets, reasons) };
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
