/** The cache folder of this machine, cleaned: what the command line and the editor call. */
import { atWork, cleanCache, type AtWork, type Cleaned } from '../core/storage/cache-folder';
import { nodeFiles } from './files';
import { claimTimeout, identity } from './identity';

const self = () => ({ files: nodeFiles, self: identity, claimTimeout: claimTimeout() });

/** `cleanCache` by this process. Throws `cache-foreign` for a folder that is no cache of ours. */
export const cleanFolder = (folder: string, limit: number): Promise<Cleaned> => cleanCache(self(), folder, limit);

/** `atWork` as this process sees it. */
export const workersOf = (folder: string): Promise<AtWork[]> => atWork(self(), folder);
