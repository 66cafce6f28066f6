/** Costs, encoding and reading back of encoded matrices in files. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type {
  ByteRange,
  DenseSource,
  EncodedPart,
  EncodedSource,
  NativeMetric,
  NativeOption,
} from '../../extension/core/native';
import { native, sampleTensor } from './native';

const folder = mkdtempSync(path.join(os.tmpdir(), 'lq-encode-'));
afterAll(() => rmSync(folder, { recursive: true }));

const weight = sampleTensor('model.layers.0.mlp.down_proj.weight'); // 256 x 688
const { rows, cols } = weight;
const seed = 7;

const trellis: NativeOption = {
  transform: 'hadamard',
  grid: { kind: 'trellis', bits: 2, step: 1, states: 12, tailBiting: false },
  scales: { kind: 'row', type: 'fp16' },
  rounding: 'feedback',
  rank: 0,
};

/** What trellis takes: 2 bits a weight, 10 bits a tile of 16 x 16, 2 bytes a row. */
const sizes: Partial<Record<EncodedPart, number>> = {
  codes: (rows * cols) / 4,
  starts: Math.ceil((16 * 43 * 10) / 8),
  row_scales: 2 * rows,
  multiplier: 4,
};

function room(name: string, bytes: number): string {
  const file = path.join(folder, name);
  const handle = openSync(file, 'w');
  ftruncateSync(handle, bytes);
  closeSync(handle);
  return file;
}

function floats(name: string, data: Float32Array, height: number, width: number): DenseSource {
  const file = path.join(folder, name);
  writeFileSync(file, Buffer.from(data.buffer));
  return { kind: 'dense', path: file, offset: 0, dtype: 'F32', rows: height, cols: width };
}

function layout(name: string): Partial<Record<EncodedPart, ByteRange>> {
  const file = room(name, 1 << 20);
  let at = 0;
  return Object.fromEntries(
    Object.entries(sizes).map(([part, bytes]) => {
      const range = { path: file, offset: at, bytes };
      at += Math.ceil(bytes / 64) * 64;
      return [part, range];
    }),
  );
}

/** Inputs that resemble their neighbours. */
const kfac: NativeMetric = {
  kind: 'kfac',
  rowWeight: floats(
    'rows',
    Float32Array.from({ length: rows }, (_, i) => 1e-3 * (1 + (i % 5))),
    1,
    rows,
  ),
  secondMoment: floats(
    'moment',
    Float32Array.from({ length: cols * cols }, (_, i) => 0.7 ** Math.abs(Math.floor(i / cols) - (i % cols))),
    cols,
    cols,
  ),
  damping: 0.01,
};

describe('encoding', () => {
  it('stores what it reports, and every reader of a weight reads it', async () => {
    const parts = layout('encoded');
    const nearest: NativeOption = { ...trellis, rounding: 'nearest' };
    const costs = await native.encodeCosts('cpu', weight, [trellis, nearest], { metric: kfac, seed }, {});
    const result = await native.encode('cpu', weight, trellis, { metric: kfac, seed }, { parts }, {});
    expect(result.cost).toBe(costs.costs[0]);
    expect(result.storedCost).toBe(result.cost);
    expect(result.cost).toBeLessThan(0.97 * costs.costs[1]!);
    expect([...costs.measured]).toEqual([1, 1]);

    const source: EncodedSource = { kind: 'encoded', rows, cols, option: trellis, seed, parts };
    const { squaredError, squaredNorm } = await native.difference('cpu', weight, source, 4, 4, {});
    expect(squaredError / result.squaredError).toBeCloseTo(1, 4);
    expect(squaredNorm / costs.norm).toBeCloseTo(1, 4);
    const dense: DenseSource = {
      kind: 'dense',
      path: room('dense', rows * cols * 4),
      offset: 0,
      dtype: 'F32',
      rows,
      cols,
    };
    await native.reconstruct('cpu', source, dense, {});
    expect((await native.difference('cpu', source, dense, 4, 4, {})).maxAbsolute).toBe(0);
    const statistics = await native.statistics('cpu', source, 0, {});
    expect(statistics.stddev).toBeCloseTo((await native.statistics('cpu', dense, 0, {})).stddev, 9);
  });

  it('gives the same bytes whatever the threads', async () => {
    const bytes = [];
    for (const threads of [1, 2, 3]) {
      native.setThreads(threads);
      const parts = layout(`threads-${threads}`);
      await native.encode('cpu', weight, trellis, { metric: kfac, seed }, { parts }, {});
      bytes.push(readFileSync(parts.codes!.path).toString('base64'));
    }
    native.setThreads(0);
    expect(new Set(bytes).size).toBe(1);
  });

  it('predicts within a few percent', async () => {
    const options = [3, 4].map(bits => ({ ...trellis, grid: { ...trellis.grid, bits } as NativeOption['grid'] }));
    const int = (bits: number, symmetric: boolean, rounding: NativeOption['rounding']): NativeOption => ({
      transform: 'none',
      grid: { kind: 'int', bits, symmetric },
      scales: symmetric ? { kind: 'row', type: 'fp16' } : { kind: 'group', size: 128, type: 'fp16' },
      rounding,
      rank: 0,
    });
    options.push(int(4, false, 'feedback'), int(6, false, 'nearest'), int(5, true, 'feedback'));
    const parameters = { metric: kfac, seed };
    const measured = await native.encodeCosts('cpu', weight, options, parameters, {});
    const predicted = await native.encodeCosts('cpu', weight, options, { ...parameters, predict: true }, {});
    expect([...predicted.measured]).toEqual([0, 0, 0, 0, 0]);
    const one = await native.encodeCosts(
      'cpu',
      weight,
      [{ ...trellis, rank: 4 }],
      { ...parameters, predict: true },
      {},
    );
    expect([...one.measured]).toEqual([1]);
    predicted.costs.forEach((cost, i) => expect(Math.abs(cost / measured.costs[i]! - 1)).toBeLessThan(0.05));
  });

  it('refuses parts of another size, and what it cannot do, by name', async () => {
    const parts = layout('wrong');
    const encode = (option: NativeOption, at = parts) =>
      native.encode('cpu', weight, option, { metric: kfac, seed }, { parts: at }, {});
    await expect(encode(trellis, { ...parts, codes: { ...parts.codes!, bytes: 5 } })).rejects.toThrow(
      'part codes has 5 bytes, its option gives 44032',
    );
    const { starts, ...rest } = parts;
    expect(starts).toBeDefined();
    await expect(encode(trellis, rest)).rejects.toThrow('part starts is missing');
    const costs = (option: NativeOption) =>
      native.encodeCosts('cpu', weight, [option], { metric: { kind: 'plain' }, seed }, {});
    await expect(costs({ ...trellis, rounding: 'descent' })).rejects.toMatchObject({ code: 'unsupported' });
    await expect(costs({ ...trellis, scales: { kind: 'group', size: 64, type: 'fp16' } })).rejects.toThrow(
      'row scales',
    );
  });
});
