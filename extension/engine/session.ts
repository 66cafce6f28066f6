/** From a request's settings to the context its stages run in: native module, device, threads, cache. */
import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import path from 'node:path';
import type { PipelineContext } from '../core/context';
import { LqError } from '../core/errors';
import { nodeFiles } from '../node/files';
import type { JobSettings } from '../protocol/engine';
import { loadNative } from './load';
import type { NativeModule } from './native';
import type { Job } from './server';

/** The addon and the libraries it needs lie beside the engine's bundle. */
export const nativeFolder = (): string => path.join(__dirname, 'native');

export const defaultCache = (): string => path.join(homedir(), '.cache', 'lq-studio');

/**
 * The device a setting names. 'auto' is the first accelerator, else the CPU, and the choice is logged and reported with
 * every result. A named device that is not there is an error, never a fall back.
 */
export function resolveDevice(native: NativeModule, setting: string): string {
  const { devices, problems } = native.devices();
  if (setting === 'auto') return devices.find(device => device.id !== 'cpu')?.id ?? 'cpu';
  const wanted = setting === 'cuda' ? 'cuda:0' : setting;
  if (devices.some(device => device.id === wanted)) return wanted;
  const why = problems.length > 0 ? ` ${problems.join(' ')}` : '';
  throw new LqError(
    'device-unavailable',
    `There is no device "${setting}"; available: ${devices.map(device => device.id).join(', ')}.${why}`,
  );
}

export function createContext(settings: JobSettings, job: Job): PipelineContext {
  const native = loadNative(nativeFolder());
  native.setThreads(settings.threads ?? 0);
  return {
    native,
    files: nodeFiles,
    device: resolveDevice(native, settings.device ?? 'auto'),
    cache: settings.cache ?? defaultCache(),
    seed: settings.seed ?? 0,
    signal: job.signal,
    digest: text => createHash('sha256').update(text).digest('hex'),
    now: () => performance.now(),
    report: job.report,
    log: job.log,
  };
}
