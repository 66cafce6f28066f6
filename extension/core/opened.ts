/** Opening what requests name. */
import { logicalTensors } from './logical/logical';
import { openCheckpoint } from './logical/open';
import { baseName } from './format';
import { targetTensors } from './checkpoint/slices';
import { coverageOf, selectTargets, type Coverage } from './logical/targets';
import type { CheckpointIndex, LogicalTensor } from './checkpoint/types';
import type { FileSystem } from './files/types';
import { LqError } from './errors';
import type { Option } from './options/types';

export interface Opened {
  /** With tensors that hold several targets as those, and targets as they are compressed: see `targetTensors`. */
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
  request: { model: string; include?: readonly string[]; exclude?: readonly string[]; embeddings?: boolean },
  options: readonly Option[] = [],
): Promise<Opened> {
  const whole = await openComplete(files, request.model);
  await requireWhole(files, whole);
  const logical = logicalTensors(whole);
  const selected = selectTargets(logical, request.include, request.exclude, request.embeddings);
  const rank = Math.min(...options.map(option => option.rank));
  const narrow = selected.filter(({ shape }) => options.length > 0 && Math.min(...shape) < rank);
  // Where nothing would be left it is the rank that is wrong, which is told by whoever needs it.
  const left = narrow.length < selected.length ? narrow : [];
  const targets = selected.filter(target => !left.includes(target));
  const reasons = new Map(left.map(({ name }) => [name, `narrower than the rank of ${rank}`]));
  const index = targetTensors(whole, targets);
  return { index, targets, coverage: coverageOf(logical, targets, reasons) };
}

/**
 * Refuses one file of a checkpoint of several: what is computed of it would be of a part of the model without a word.
 * @throws LqError 'usage', naming the whole.
 */
async function requireWhole(files: FileSystem, index: CheckpointIndex): Promise<void> {
  if (index.path !== index.file || index.shards.length !== 1) return;
  const whole = await openCheckpoint(files, index.folder).catch(() => undefined); // the folder is no checkpoint: nothing is left out
  const number = whole?.shards.findIndex(({ file }) => file === index.file) ?? -1;
  if (!whole || whole.shards.length < 2 || number < 0) return;
  throw new LqError(
    'usage',
    `${baseName(index.file)} is file ${number + 1} of ${whole.shards.length} of ${whole.label}; name its folder, ${whole.folder}, to take all of it.`,
    { file: index.file, details: { whole: whole.folder } },
  );
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
