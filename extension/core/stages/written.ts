/**
 * What a compression has written, remembered until it ends: one that dies while its output is evaluated finds it on the next
 * run, instead of refusing a folder that exists.
 */
import { backendOf, type PipelineContext } from '../context';
import { LqError } from '../errors';
import type { Written } from '../export/target';
import { joinPath } from '../files/paths';
import type { CompressRequest } from '../requests/requests';
import { cachePath, readCached, writeCached } from '../storage/cache';

interface Kept {
  readonly result: Written;
  /** Identifies what was carried out. */
  readonly plan: string;
  /** Name, bytes and time of every file, as they were written. */
  readonly files: readonly FileStamp[];
}
type FileStamp = readonly [name: string, bytes: number, modified: number];

/** The output of a request that was made before and did not end, if the folder still holds what was written; else undefined. */
export async function findWritten(context: PipelineContext, request: CompressRequest): Promise<Kept | undefined> {
  const kept = await readCached<Kept>(context, 'written', keyOf(context, request));
  if (kept === undefined || (await context.files.stat(request.out)) === undefined) return undefined;
  const found = await stampsOf(context, request.out);
  return JSON.stringify(found) === JSON.stringify(kept.files) ? kept : undefined;
}

/** Nothing is thrown: the output is there, remembered or not. */
export async function rememberWritten(
  context: PipelineContext,
  request: CompressRequest,
  plan: string,
  result: Written,
): Promise<void> {
  try {
    const kept: Kept = { result, plan, files: await stampsOf(context, request.out) };
    await writeCached(context, 'written', keyOf(context, request), kept);
  } catch (error) {
    context.log('warning', `The output is written but not noted in the cache: ${LqError.from(error).message}`);
  }
}

/** From now on a folder at the output's place is in the way again. */
export const forgetWritten = (context: PipelineContext, request: CompressRequest): Promise<void> =>
  context.files.remove(cachePath(context, 'written', keyOf(context, request)));

/** Everything asked for but how it is computed, in whatever order it was said. */
function keyOf(context: PipelineContext, request: CompressRequest): unknown {
  const { device: _device, threads: _threads, cache: _cache, seed: _seed, overwrite: _overwrite, ...asked } = request;
  return { backend: backendOf(context), seed: context.seed, asked: sorted(asked) };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, each]) => [name, sorted(each)]));
}

async function stampsOf({ files }: PipelineContext, folder: string): Promise<FileStamp[]> {
  const stamps: FileStamp[] = [];
  for (const name of (await files.list(folder)).sort()) {
    const stat = await files.stat(joinPath(folder, name));
    if (stat !== undefined) stamps.push([name, stat.bytes, stat.modified]);
  }
  return stamps;
}
