/** The cache folder of this machine, cleaned: what the command line and the editor call. */
import { cleanCache, type Cleaned } from '../core/storage/cache-folder';
import { nodeFiles } from './files';
import { claimTimeout, identity } from './identity';

/** `cleanCache` by this process. Throws `cache-foreign` for a folder that is no cache of ours. */
export const cleanFolder = (folder: string, limit: number): Promise<Cleaned> =>
  cleanCache({ files: nodeFiles, self: identity, claimTimeout: claimTimeout() }, folder, limit);
