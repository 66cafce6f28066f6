/**
 * Every folder that is exported: made in a sibling, resumable item by item, read back and compared with what was meant, and
 * only then given its name. An exporter lays out files, fills them and says what it means; nothing else differs.
 */
import { copySideFiles } from '../checkpoint/side-files';
import { filesHash, filesStamp } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { joinPath } from '../files/paths';
import { openOutput, type AllocatedFile, type Output } from '../storage/output';
import { readBack, type Delivered, type Meant } from './delivered';

export interface FolderJob<R> {
  /** What it is made of. */
  readonly index: CheckpointIndex;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** Everything that the bytes depend on beside the source's files. */
  readonly fingerprint: unknown;
  /** Whether it takes long to make: what one process makes is then a copy for another, see `OutputRequest`. */
  readonly shared: boolean;
  /** How many items `fill` marks done. */
  readonly items: number;
  /** Files of weights, at their final size. */
  readonly files: readonly AllocatedFile[];
  /** Writes what is not done into them, and marks it. */
  fill(output: Output<R>): Promise<void>;
  /** Small files beside them, by name. */
  readonly texts: ReadonlyMap<string, string>;
  /** Where small files of the source go, a subfolder; default the folder itself. */
  readonly sideFolder?: string;
  /** Which small files of the source come along, see `copySideFiles`. */
  readonly side?: 'legal';
  meant(done: ReadonlyMap<string, R>): Meant;
}

export interface MadeFolder<R> {
  readonly out: string;
  readonly files: string[];
  /** Of files of weights. */
  readonly bytes: number;
  readonly records: ReadonlyMap<string, R>;
  readonly delivered: Delivered;
}

/** @throws LqError 'output-exists', 'disk-full', 'not-finite', 'io', 'cancelled', and those of `fill`. */
export async function writeFolder<R>(context: PipelineContext, job: FolderJob<R>): Promise<MadeFolder<R>> {
  const { index, out, files, texts } = job;
  const source = job.shared ? await filesHash(context, index) : await filesStamp(context, index);
  const output = await openOutput<R>(context, {
    out,
    source: index.folder,
    overwrite: job.overwrite,
    fingerprint: context.digest(JSON.stringify([source, job.fingerprint])),
    shared: job.shared,
    items: job.items,
    files,
  });
  const { folder, done } = output;
  try {
    await job.fill(output);
    const { sideFolder } = job;
    await copySideFiles(context, index, sideFolder === undefined ? folder : joinPath(folder, sideFolder), job.side);
    for (const [name, text] of texts) await context.files.writeAtomic(joinPath(folder, name), text);
    const delivered = await readBack(context, folder, index, job.meant(done));
    return {
      out,
      files: await output.finish(),
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      records: done,
      delivered,
    };
  } catch (error) {
    // A cancelled or failed run is continued by the same request.
    await output.keep();
    throw error;
  }
}
