/**
 * A compression as the jobs of a cluster: workers that share statistics, sweep and encoding by the cache, then one that gathers: it
 * finds what the workers did, does what one that died left, and writes.
 * The scheduler is the user's own; these are the commands it runs and what they need.
 */

import { compressRequest, type CompressRequest } from '../../core/requests/requests';

export interface ClusterJob {
  /** How lq-studio is called on the machines. */
  readonly program: string;
  /** Its cache is a folder that all machines see: reusable results and claims. */
  readonly compress: CompressRequest;
  readonly workers: number;
  /** Accelerators a worker takes; 0 on CPUs. */
  readonly gpus: number;
  /** Bytes a worker needs at most, and seconds that each step takes by the estimate. */
  readonly memory: number;
  readonly seconds: { readonly workers: number; readonly gather: number };
}

/** Folder of the shared cache, and of the logs beside it. */
export const cacheOf = ({ compress }: ClusterJob): string => compress.cache!;
export const logsOf = (job: ClusterJob): string => `${cacheOf(job)}-logs`;

export interface Step {
  readonly name: 'workers' | 'gather';
  readonly command: readonly string[];
  /** Alike, side by side. */
  readonly count: number;
  readonly seconds: number;
}

/** The steps, each of which waits for the one before. */
export function stepsOf({ program, compress, workers, seconds }: ClusterJob): Step[] {
  const command = [program, ...compressRequest.words(compress)];
  return [
    { name: 'workers', command: [...command, '--shard', 'auto'], count: workers, seconds: seconds.workers },
    { name: 'gather', command, count: 1, seconds: seconds.gather },
  ];
}

/** A word that a POSIX shell reads as it is. */
export const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

export const shellLine = (words: readonly string[]): string => words.map(quoted).join(' ');

/** Twice the estimate and ten minutes: what a step may take before its scheduler ends it, as H:MM:SS. */
export function timeLimit(seconds: number): string {
  const minutes = Math.ceil((2 * seconds) / 60) + 10;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:00`;
}

/** Gigabytes of memory to ask for: the estimate and a quarter more. */
export const memoryGB = (job: ClusterJob): number => Math.ceil((1.25 * job.memory) / 1e9);
