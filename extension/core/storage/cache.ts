/**
 * Results worth keeping, addressed by what they depend on: `<cache>/<kind>/<digest of the key>.json`. A key holds every
 * input that matters (content hashes, recipe, option list), so an entry never goes stale; it can only be unneeded.
 */
import type { PipelineContext } from '../context';
import { joinPath } from '../files/paths';

export type CacheKind =
  'sweep' | 'plan' | 'fisher' | 'calibration' | 'statistics' | 'spectrum' | 'evaluation' | 'rates';

/** Where an entry lives; the key is any JSON value. */
export function cachePath(context: PipelineContext, kind: CacheKind, key: unknown, extension = 'json'): string {
  return joinPath(joinPath(context.cache, kind), `${context.digest(JSON.stringify(key))}.${extension}`);
}

/** The entry, or undefined when there is none or it cannot be read as JSON (a disk that lost a write is no reason to stop). */
export async function readCached<T>(context: PipelineContext, kind: CacheKind, key: unknown): Promise<T | undefined> {
  const path = cachePath(context, kind, key);
  if ((await context.files.stat(path)) === undefined) return undefined;
  try {
    return JSON.parse(await context.files.readText(path)) as T;
  } catch {
    context.log('warning', `Ignoring the damaged cache entry ${path}.`);
    return undefined;
  }
}

export async function writeCached(
  context: PipelineContext,
  kind: CacheKind,
  key: unknown,
  value: unknown,
): Promise<void> {
  const path = cachePath(context, kind, key);
  await context.files.makeFolder(joinPath(context.cache, kind));
  await context.files.writeAtomic(path, JSON.stringify(value));
}
