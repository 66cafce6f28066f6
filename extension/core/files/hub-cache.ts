/**
 * The cache of the Hugging Face hub: `models--org--name` holds `blobs`, `refs` with the commit of each branch, and a folder of
 * links for each commit in `snapshots`. Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
 */
import { folderOf, joinPath } from './paths';
import { baseName } from '../format';
import type { FileSystem } from './types';

/** A repository in the cache. */
export interface HubRepository {
  /** `org/name`, as on the hub. */
  readonly name: string;
  /** The folder of the repository. */
  readonly folder: string;
  /** The folder that holds all repositories: no place for results. */
  readonly cache: string;
  /** Where in the repository a path leads, without the snapshot's commit: '' for the repository itself. */
  readonly inside: string;
}

const REPOSITORY = /^(?:models|datasets|spaces)--(.+)$/;

/** The cached repository that a path is or lies in, or undefined. */
export function hubRepository(path: string): HubRepository | undefined {
  const parts = path.split(/[\\/]/);
  const at = parts.reduce((last, part, i) => (REPOSITORY.test(part) ? i : last), -1);
  const name = at < 0 ? undefined : REPOSITORY.exec(parts[at]!)?.[1];
  if (name === undefined) return undefined;
  const below = parts.slice(at + 1);
  if (below.length > 0 && below[0] !== 'snapshots' && below[0] !== 'blobs' && below[0] !== 'refs') return undefined;
  let folder = path;
  for (let i = 0; i < below.length; i++) folder = folderOf(folder);
  const inside = below[0] === 'snapshots' ? below.slice(2).join('/') : '';
  return { name: name.replaceAll('--', '/'), folder, cache: folderOf(folder), inside };
}

/** The snapshot that a repository of the cache, or its folder of snapshots, stands for: that of its main branch, else the newest. */
export async function hubSnapshot(files: FileSystem, path: string): Promise<string | undefined> {
  const repository = hubRepository(path);
  if (!repository || ![repository.folder, joinPath(repository.folder, 'snapshots')].includes(path)) return undefined;
  const snapshots = joinPath(repository.folder, 'snapshots');
  if (!(await files.stat(snapshots))?.directory) return undefined;
  const found = await Promise.all(
    (await files.list(snapshots)).map(async name => {
      const stat = await files.stat(joinPath(snapshots, name));
      return { name, modified: stat?.modified ?? 0, directory: stat?.directory ?? false };
    }),
  );
  const commits = found.filter(({ directory }) => directory).sort((a, b) => b.modified - a.modified);
  const main = await mainCommit(files, repository.folder);
  const chosen = commits.find(({ name }) => name === main) ?? commits[0];
  return chosen && joinPath(snapshots, chosen.name);
}

async function mainCommit(files: FileSystem, folder: string): Promise<string | undefined> {
  const refs = joinPath(folder, 'refs');
  const main = joinPath(refs, 'main');
  return (await files.stat(main)) ? baseName((await files.readText(main)).trim()) : undefined;
}
