/** `inspect`, `stats`, `compare` and `health` of odd files, as people run them. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { serializeHeader, type TensorSpec } from '../../extension/core/checkpoint/serialize';
import { lqStudio, workFolder, type Finished } from './running';

const { folder, clean } = workFolder();
afterAll(clean);

const W = 'model.layers.0.mlp.up_proj.weight';
const f32 = (name: string, ...shape: number[]): TensorSpec => ({ name, dtype: 'F32', shape });

/** A file of tensors with bytes of their own; zeros where none are given. */
function write(name: string, tensors: readonly (readonly [TensorSpec, ArrayBufferView?])[]): string {
  const header = serializeHeader(tensors.map(([spec]) => spec));
  const bytes = new Uint8Array(header.fileBytes);
  bytes.set(header.bytes);
  tensors.forEach(([{ name: tensor }, data]) => {
    const place = header.tensors.find(other => other.name === tensor)!;
    if (data) bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place.offset);
  });
  const file = path.join(folder, name);
  writeFileSync(file, bytes);
  return file;
}

const run = (...args: string[]): Promise<Finished> => lqStudio([...args, '--cache', path.join(folder, 'cache')]);
const wave = (scale: number): Float32Array => Float32Array.from({ length: 64 }, (_, i) => Math.sin(i + 1) * scale);

describe('stats', () => {
  const file = write('every.safetensors', [
    [f32(W, 8, 8), wave(1e-30)],
    [f32('nan', 2, 2), new Float32Array(4).fill(NaN)],
    [f32('nothing', 0, 4)],
    [{ name: 'six', dtype: 'F6_E2M3', shape: [4] }],
    [{ name: 'p.qweight', dtype: 'I32', shape: [8, 64] }],
    [{ name: 'p.scales', dtype: 'F16', shape: [1, 64] }],
    [{ name: 'p.g_idx', dtype: 'I32', shape: [64] }],
  ]);

  it('has a row for every tensor, with the reason where there is no figure', async () => {
    const { code, stdout } = await run('stats', file);
    expect(code).toBe(0);
    const row = (name: string): string => stdout.split('\n').find(line => line.startsWith(`${name} `))!;
    expect(row(W)).toMatch(/e-31.*e-31/);
    expect(row('nan')).toMatch(/– .* 4 +no value is finite$/);
    expect(row('nothing')).toMatch(/it is empty$/);
    expect(row('six')).toMatch(/F6_E2M3 are not read$/);
    expect(row('p.weight')).toMatch(/INT4.*not decoded$/);
  });

  it('gives the same as JSON, null where nothing is finite', async () => {
    const { tensors, unmeasured } = JSON.parse((await run('stats', file, '--json')).stdout) as {
      tensors: Record<string, { stddev: number | null; nans: number; rowNorms: { zero: number } }>;
      unmeasured: Record<string, string>;
    };
    expect(tensors[W]!.stddev! / 1e-30).toBeCloseTo(Math.SQRT1_2, 1);
    expect(tensors[W]!.rowNorms.zero).toBe(0);
    expect(tensors['nan']).toMatchObject({ stddev: null, nans: 4 });
    expect(Object.keys(unmeasured).sort()).toEqual(['nothing', 'p.weight', 'six']);
  });
});

it('compare goes on past NaN and types that are not read', async () => {
  const broken = wave(1);
  broken[5] = NaN;
  const tensors = (first: Float32Array): [TensorSpec, Float32Array?][] => [
    [f32('a', 8, 8), first],
    [f32('b', 8, 8), wave(2)],
    [{ name: 'c', dtype: 'C64', shape: [2] }],
    [f32('z', 8, 8)],
  ];
  const [a, b] = [write('a.safetensors', tensors(wave(1))), write('b.safetensors', tensors(broken))];
  const { code, stdout } = await run('compare', a, b, '--json');
  expect(code).toBe(0);
  const rows = (JSON.parse(stdout) as { tensors: Record<string, unknown>[] }).tensors;
  expect(rows).toMatchObject([
    { name: 'a', reason: expect.stringMatching(/^B: .*index 5/) as string },
    { name: 'b', relativeError: 0 },
    { name: 'c', reason: expect.stringContaining('C64') as string },
    { name: 'z', relativeError: 0 },
  ]);
});

describe('health and inspect', () => {
  it('tell a finding of many tensors once, print everything, and fail for errors', async () => {
    const bad = Array.from({ length: 2000 }, (_, i): [TensorSpec, Float32Array] => [
      f32(`model.layers.${i}.mlp.up_proj.weight`, 1, 2),
      Float32Array.of(1, NaN),
    ]);
    const file = write('many.safetensors', bad);
    const health = await run('health', file);
    expect(health.code).toBe(1);
    expect(health.stdout.trim().split('\n')).toHaveLength(1);
    expect(health.stdout).toMatch(/^error .*in 2,000 tensors: first "model\.layers\.0\./);
    const { findings } = JSON.parse((await run('health', file, '--json')).stdout) as { findings: unknown[] };
    expect(findings).toHaveLength(1);
  });

  it('inspect lists what there is of a checkpoint with a missing shard and exits with 1', async () => {
    const index = path.join(folder, 'model.safetensors.index.json');
    write('x.safetensors', [[f32('x', 2)]]);
    writeFileSync(index, JSON.stringify({ weight_map: { x: 'x.safetensors', y: 'y.safetensors' } }));
    const { code, stdout } = await run('inspect', index);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^x +F32/m);
    expect(stdout).toMatch(/^error: y\.safetensors is missing/m);
    expect((await run('inspect', path.join(folder, 'x.safetensors'))).code).toBe(0);
  });

  it('names reach the terminal without their control characters and shortened', async () => {
    const file = write('names.safetensors', [[f32('\u001b[31mred\u202e', 1)], [f32('n'.repeat(10_000), 1)]]);
    for (const command of ['inspect', 'stats', 'health']) {
      const { stdout, stderr } = await run(command, file);

      expect(stdout + stderr).not.toMatch(/[\u001b\u202e]/);
      expect(Math.max(...stdout.split('\n').map(line => line.length))).toBeLessThan(400);
    }
    expect((await run('inspect', file)).stdout).toContain('\\u001b[31mred\\u202e');
  });
});
