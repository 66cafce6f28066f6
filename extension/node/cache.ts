/** The cache folder of this machine, cleaned: what the command line and the editor call. */
import { homedir } from 'node:os';
import path from 'node:path';
import { atWork, cleanCache, type AtWork, type Cleaned } from '../core/storage/cache-folder';
import { sharedJobs, type SharedJob } from '../core/storage/posts';
import { nodeFiles } from './files';
import { claimTimeout, identity } from './identity';

const self = () => ({ files: nodeFiles, self: identity, claimTimeout: claimTimeout() });

/** `cleanCache` by this process. Throws `cache-foreign` for a folder that is no cache of ours. */
export const cleanFolder = (folder: string, limit: number): Promise<Cleaned> => cleanCache(self(), folder, limit);

/** `atWork` as this process sees it. */
export const workersOf = (folder: string): Promise<AtWork[]> => atWork(self(), folder);

/** `sharedJobs` as this process sees them. */
export const jobsOf = (folder: string): Promise<SharedJob[]> => sharedJobs(self(), folder);

/** Whether a worker is a process of this machine. @param pid of the process, undefined when it does not run */
export const isSelf = ({ host, pid: worker }: AtWork, pid: number | undefined): boolean =>
  host === identity.host && worker === pid;

/** Where reusable results are kept unless a request says otherwise. */
export const cacheFolder = (): string => process.env['LQ_STUDIO_CACHE'] ?? path.join(homedir(), '.cache', 'lq-studio');
