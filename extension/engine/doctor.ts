/** What this machine offers, for `lq-studio doctor` and the editor's device setting. */
import { cacheUsage } from '../core/storage/cache-folder';
import type { DoctorReport } from '../protocol/engine';
import type { JobSettings } from '../core/requests/requests';
import { version } from '../../package.json';
import { nodeFiles } from '../node/files';
import { loadNative } from './load';
import { cacheFolder } from '../node/cache';
import { nativeFolder } from './session';

export async function doctor(settings: JobSettings): Promise<DoctorReport> {
  const native = loadNative(nativeFolder());
  const { devices, libraries, problems } = native.devices();
  const folder = settings.cache ?? cacheFolder();
  return {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    native: { path: nativeFolder(), version: native.version },
    devices,
    libraries,
    problems,
    cache: { folder, ...(await cacheUsage(nodeFiles, folder)) },
  };
}
