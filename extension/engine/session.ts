/** From a request's settings to the context its stages run in: native module, device, threads, cache. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { PipelineContext, Precision } from '../core/context';
import { LqError } from '../core/errors';
import { cacheFolder } from '../node/cache';
import { nodeFiles } from '../node/files';
import { claimTimeout, identity } from '../node/identity';
import type { PrecisionSetting } from '../core/requests/fields';
import type { JobSettings } from '../core/requests/requests';
import { loadNative } from './load';
import type { NativeDevice, NativeModule } from '../core/native';
import type { Job } from './server';

/** The addon and the libraries it needs lie beside the engine's bundle. */
export const nativeFolder = (): string => path.join(__dirname, 'native');

/**
 * The devices a setting names. 'auto' is every accelerator, else the CPU; 'cuda' is every CUDA device. The choice is
 * reported with every result. A named device that is not there is an error, never a fall back.
 */
function resolveDevices(native: NativeModule, setting: string): NativeDevice[] {
  const { devices, problems } = native.devices();
  const accelerators = devices.filter(({ id }) => id !== 'cpu');
  if (setting === 'auto') return accelerators.length > 0 ? accelerators : devices.filter(({ id }) => id === 'cpu');
  const wanted = setting === 'cuda' ? accelerators : devices.filter(({ id }) => id === setting);
  if (wanted.length > 0) return wanted;
  const why = problems.length > 0 ? ` ${problems.join(' ')}` : '';
  throw new LqError(
    'device-unavailable',
    `There is no device "${setting}"; available: ${devices.map(device => device.id).join(', ')}.${why}`,
  );
}

/** Every device's first lane, then every device's second: few matrices spread over all devices. */
export function lanesOf(devices: readonly Pick<NativeDevice, 'id' | 'lanes'>[]): string[] {
  const most = Math.max(...devices.map(({ lanes }) => lanes));
  return Array.from({ length: most }, (_, lane) => devices.filter(({ lanes }) => lane < lanes)).flatMap(round =>
    round.map(({ id }) => id),
  );
}

/**
 * What products of language models are computed in on a device. 'auto' is bf16 where there is AMX, whose products are faster than
 * fp32's as two terms too, and fp32 elsewhere.
 * @throws LqError 'device-unavailable' for what the device does not have.
 */
export function resolvePrecision(
  { id, bf16 = 'none' }: Pick<NativeDevice, 'id' | 'bf16'>,
  setting: PrecisionSetting,
): Precision {
  const asked = setting !== 'auto';
  if (id !== 'cpu') {
    if (!asked) return { used: 'tensor-cores', asked };
    throw new LqError(
      'device-unavailable',
      `${id} chooses the precision of its products itself; --precision is for the CPU.`,
    );
  }
  if (setting === 'bf16' && bf16 === 'none')
    throw new LqError(
      'device-unavailable',
      'This processor has no instructions for products in bf16 (AVX512-BF16 or AMX); use --precision fp32.',
    );
  return { used: setting === 'bf16' || (!asked && bf16 === 'amx') ? 'bf16' : 'fp32', asked };
}

export function createContext(
  settings: JobSettings & { readonly precision?: PrecisionSetting },
  job: Job,
): PipelineContext {
  const native = loadNative(nativeFolder());
  const devices = resolveDevices(native, settings.device ?? 'auto');
  const lanes = lanesOf(devices);
  return {
    native,
    files: nodeFiles,
    device: lanes[0]!,
    devices: devices.map(({ id }) => id),
    lanes,
    precision: resolvePrecision(devices[0]!, settings.precision ?? 'auto'),
    threads: settings.threads ?? 0,
    cache: settings.cache ?? cacheFolder(),
    seed: settings.seed ?? 0,
    self: identity,
    claimTimeout: claimTimeout(),
    signal: job.signal,
    digest: text => createHash('sha256').update(text).digest('hex'),
    now: () => performance.now(),
    report: job.report,
    log: job.log,
  };
}
