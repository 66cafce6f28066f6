/** The small model of the harness packed: made anew before each test, in a folder that is removed after it. */
import path from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { CheckpointIndex } from '../../../extension/core/checkpoint/types';
import { LqError } from '../../../extension/core/errors';
import { openCheckpoint } from '../../../extension/core/logical/open';
import type { LqSource } from '../../../extension/core/native';
import { paperOption } from '../../../extension/core/options/config';
import { lqDestination, type PackedLayout, type PackedTarget } from '../../../extension/core/packed/layout';
import { createPackedOutput, type PackedJob } from '../../../extension/core/packed/writer';
import { nodeFiles } from '../../../extension/node/files';
import { context, ERRORS, fillParts, makeModel, newCache, RECIPE, temporary } from './harness';

export const NAMES = ['model.layers.0.q_proj.weight', 'model.layers.1.q_proj.weight'] as const;
export const TARGETS: PackedTarget[] = [
  {
    name: NAMES[0],
    option: paperOption({ b0: 3, b1: 4, b2: 'bf16', B0: 16, B1: 16 }, 4),
  },
  {
    name: NAMES[1],
    option: paperOption({ b0: 2, b1: 3, b2: 'fp32', B0: 64, B1: 256 }, 0),
  },
];

// Of the test that runs.
export let folder: string;
export let source: CheckpointIndex;
export let job: PackedJob;

/** Called by a file whose tests use them. */
export function usePackedModel(): void {
  let remove: () => void;
  beforeEach(async () => {
    ({ folder, remove } = temporary());
    newCache();
    source = await makeModel(path.join(folder, 'model'));
    job = { source, targets: TARGETS, factors: 'nf8', recipe: RECIPE, out: path.join(folder, 'out'), overwrite: false };
  });
  afterEach(() => remove());
}

export const fill = (place: PackedLayout['matrices'][number]['source']): void =>
  fillParts(lqDestination(place as LqSource));

export async function pack(changes: Partial<PackedJob> = {}): Promise<CheckpointIndex> {
  const output = await createPackedOutput(context(), { ...job, ...changes });
  for (const { name, source: place } of output.layout.matrices) {
    fill(place);
    await output.markDone(name, ERRORS);
  }
  const { out } = await output.finish();
  return openCheckpoint(nodeFiles, out);
}

export async function failure(work: Promise<unknown>): Promise<LqError> {
  return work.then(
    () => Promise.reject(new Error('expected a failure')),
    (error: unknown) => (error instanceof LqError ? error : Promise.reject(error as Error)),
  );
}
