import { createHash } from 'node:crypto';
import * as path from 'node:path';
import { openCheckpoint } from '../../core/logical/open';
import { logicalTensors } from '../../core/logical/logical';
import { tensorTree } from '../../core/checkpoint/tree';
import type { CheckpointIndex, LogicalTensor, TreeNode } from '../../core/checkpoint/types';
import { nodeFiles } from '../../node/files';
import type { ModelHeader } from '../../protocol/panels';
import { modelHeader } from './header';

/** A checkpoint as the editor shows it: headers and what follows from them. */
export interface Model {
  /** The folder when opening the folder opens this checkpoint, otherwise its index or file. Absolute; its identity. */
  readonly path: string;
  /** The index or safetensors file that stands for it in the editor. */
  readonly file: string;
  /** Changes with any of its files: key of everything computed from the weights. */
  readonly version: string;
  readonly index: CheckpointIndex;
  readonly tensors: readonly LogicalTensor[];
  readonly byName: ReadonlyMap<string, LogicalTensor>;
  readonly tree: readonly TreeNode[];
  readonly header: ModelHeader;
}

/** Opened checkpoints, kept until their files change. */
export class Models {
  private readonly opened = new Map<string, Promise<Model>>();

  /** Opens a folder, an index or a file. @throws LqError of `openCheckpoint`. */
  async open(given: string): Promise<Model> {
    const key = path.resolve(given);
    const known = this.opened.get(key);
    if (known) return known;
    const opening = load(key);
    this.opened.set(key, opening);
    opening.catch(() => this.opened.delete(key));
    return opening;
  }

  /** Forgets whatever has `file` among its own, so that the next `open` reads it again. */
  async invalidate(file: string): Promise<void> {
    for (const [key, opening] of this.opened) {
      const model = await opening.catch(() => undefined);
      const concerns =
        model && (path.dirname(file) === model.index.folder || model.index.shards.some(shard => shard.file === file));
      if ((!model || concerns) && this.opened.get(key) === opening) this.opened.delete(key);
    }
  }

  /** Opens a path as its files are now, whether or not anybody noticed that they changed. */
  reopen(given: string): Promise<Model> {
    this.opened.delete(path.resolve(given));
    return this.open(given);
  }

  clear(): void {
    this.opened.clear();
  }
}

async function load(given: string): Promise<Model> {
  const index = await openCheckpoint(nodeFiles, given);
  const tensors = logicalTensors(index);
  const whole = index.path === index.folder ? index : await wholeOf(index.folder);
  const canonical = whole?.file === index.file ? index.folder : index.file;
  const part = partOf(index, whole);
  const version = await versionOf(index);
  return {
    path: canonical,
    file: index.file,
    version,
    index,
    tensors,
    byName: new Map(tensors.map(tensor => [tensor.name, tensor])),
    tree: tensorTree(tensors),
    header: { ...modelHeader(canonical, index, tensors), version, ...(part && { part }) },
  };
}

/** What opening the folder opens, if anything. */
const wholeOf = (folder: string): Promise<CheckpointIndex | undefined> =>
  openCheckpoint(nodeFiles, folder).catch(() => undefined);

/** The checkpoint that a file is only one shard of. */
function partOf(index: CheckpointIndex, whole: CheckpointIndex | undefined): ModelHeader['part'] {
  if (whole === undefined || whole.file === index.file || whole.shards.length < 2) return undefined;
  const number = whole.shards.findIndex(({ file }) => file === index.file) + 1;
  return number === 0 ? undefined : { path: whole.folder, label: whole.label, number, count: whole.shards.length };
}

/** Bytes of a file that are read to tell it from another of the same size, time and header; and at how many places. */
const SAMPLE = 4096;
const SAMPLES = 4;

/**
 * What changes whenever a file of the checkpoint does: sizes, times, headers, and a little of the weights, since a tool may
 * keep the time of what it overwrites.
 */
async function versionOf(index: CheckpointIndex): Promise<string> {
  const hash = createHash('sha256');
  for (const file of [...new Set([index.file, ...index.shards.map(shard => shard.file)])].sort()) {
    const stat = await nodeFiles.stat(file);
    hash.update(`${file}\0${stat?.bytes ?? -1}\0${stat?.modified ?? -1}\n`);
    for (let i = 1; stat && i <= SAMPLES; i++) {
      const offset = Math.floor(((stat.bytes - SAMPLE) * i) / SAMPLES);
      if (offset >= 0) hash.update(await nodeFiles.read(file, offset, SAMPLE));
    }
  }
  for (const { name, dtype, shape, offset } of index.tensors) hash.update(JSON.stringify([name, dtype, shape, offset]));
  return hash.digest('hex').slice(0, 32);
}
