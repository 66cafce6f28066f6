/** What the addon says of the CUDA backend beside it, on machines where some part of it is missing. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { NativeModule } from '../../extension/core/native';
import { resolvePrecision } from '../../extension/engine/session';

const scratch = mkdtempSync(path.join(tmpdir(), 'lq-devices-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A folder with the addon, and a CUDA backend that is no library: it must not be loaded before there is a device. */
function installation(name: string, { cuda }: { cuda: boolean }): string {
  const folder = path.join(scratch, name);
  mkdirSync(folder);
  copyFileSync(path.resolve('dist/native/lqstudio.node'), path.join(folder, 'lqstudio.node'));
  symlinkSync(path.resolve('dist/native/libscipy_openblas.so'), path.join(folder, 'libscipy_openblas.so'));
  if (cuda) writeFileSync(path.join(folder, 'liblq_cuda.so'), 'not a library');
  return folder;
}

/** A folder with a driver that answers as told. */
function driver(name: string, answers: { init: number; devices: number }): string {
  const folder = path.join(scratch, `driver-${name}`);
  mkdirSync(folder);
  const source = `
    int cuInit(unsigned flags) { return ${answers.init} + 0 * flags; }
    int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
    int cuDeviceGetCount(int *count) { *count = ${answers.devices}; return 0; }`;
  const library = path.join(folder, 'libcuda.so.1');
  execFileSync('g++', ['-x', 'c', '-shared', '-fPIC', '-o', library, '-'], { input: source });
  return folder;
}

function devices(folder: string, libraryPath?: string): ReturnType<NativeModule['devices']> {
  const program = `JSON.stringify(require(${JSON.stringify(path.join(folder, 'lqstudio.node'))}).devices())`;
  const env = { ...process.env, ...(libraryPath !== undefined && { LD_LIBRARY_PATH: libraryPath }) };
  return JSON.parse(execFileSync(process.execPath, ['-p', program], { env, encoding: 'utf8' })) as never;
}

describe('precision', () => {
  it('is what the machine is good at, what was asked for, or refused', () => {
    const cpu = (bf16: 'none' | 'avx512-bf16' | 'amx') => ({ id: 'cpu', bf16 });
    expect(resolvePrecision(cpu('amx'), 'auto')).toEqual({ used: 'bf16', asked: false });
    // Two products of terms are no faster than one of fp32 there.
    expect(resolvePrecision(cpu('avx512-bf16'), 'auto').used).toBe('fp32');
    expect(resolvePrecision(cpu('avx512-bf16'), 'bf16').used).toBe('bf16');
    expect(resolvePrecision(cpu('amx'), 'fp32')).toEqual({ used: 'fp32', asked: true });
    expect(resolvePrecision({ id: 'cuda:0' }, 'auto').used).toBe('tensor-cores');
    const refused = expect.objectContaining({ code: 'device-unavailable' });
    expect(() => resolvePrecision(cpu('none'), 'bf16')).toThrow(refused);
    expect(() => resolvePrecision({ id: 'cuda:0' }, 'fp32')).toThrow(refused);
  });
});

describe('devices', () => {
  it('says where the CUDA backend would be', () => {
    const folder = installation('without', { cuda: false });
    const found = devices(folder);
    expect(found.devices.map(device => device.id)).toEqual(['cpu']);
    expect(found.libraries).toEqual([]);
    expect(found.problems).toEqual([
      `the CUDA backend is not installed: there is no ${path.join(folder, 'liblq_cuda.so')}`,
    ]);
  });

  it.each([
    ['that is no library', undefined, /^no NVIDIA driver: .*libcuda\.so\.1/],
    ['that does not start', { init: 804, devices: 0 }, /driver does not start \(cuInit error 804\)/],
    ['that finds no device', { init: 100, devices: 0 }, /^no GPU: /],
    ['that lists no device', { init: 0, devices: 0 }, /^no GPU: /],
    [
      'with a device, and a backend that does not load',
      { init: 0, devices: 1 },
      /backend cannot be loaded: .*liblq_cuda/,
    ],
  ])('tells of a driver %s, and computes on the CPU', (what, answers, problem) => {
    const folder = installation(what, { cuda: true });
    let drivers: string;
    if (answers) {
      drivers = driver(what, answers);
    } else {
      // Hides the driver of a machine that has one.
      drivers = path.join(scratch, 'no-driver');
      mkdirSync(drivers);
      writeFileSync(path.join(drivers, 'libcuda.so.1'), 'not a library');
    }
    const found = devices(folder, drivers);
    expect(found.devices.map(device => device.id)).toEqual(['cpu']);
    expect(found.libraries).toEqual([
      { name: 'CUDA backend', path: path.join(folder, 'liblq_cuda.so') },
      ...(answers ? [{ name: 'NVIDIA driver for CUDA 13.0', path: path.join(drivers, 'libcuda.so.1') }] : []),
    ]);
    expect(found.problems).toEqual([expect.stringMatching(problem)]);
  });
});
