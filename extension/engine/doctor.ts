/** What this machine offers, for `lq-studio doctor` and the editor's device setting. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { DoctorReport } from '../protocol/engine';
import type { JobSettings } from '../core/requests/requests';
import { version } from '../../package.json';
import { loadNative } from './load';
import { defaultCache, nativeFolder } from './session';

export async function doctor(settings: JobSettings): Promise<DoctorReport> {
  const native = loadNative(nativeFolder());
  native.setThreads(settings.threads ?? 0);
  const { devices, libraries, problems } = native.devices();
  const folder = settings.cache ?? defaultCache();
  return {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    native: { path: nativeFolder(), version: native.version },
    devices,
    libraries,
    problems,
    cache: { folder, ...(await usage(folder)) },
  };
}

/** Files and bytes under a folder; an absent folder has none. */
export async function usage(folder: string): Promise<{ bytes: number; entries: number }> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(names.map(name => stat(path.join(folder, name)).catch(() => undefined)));
  const files = sizes.filter(found => found?.isFile() === true);
  return { entries: files.length, bytes: files.reduce((sum, found) => sum + (found?.size ?? 0), 0) };
}
