/** Compression of matrices that are not Gaussian: what it stores is finite, no worse than its alternatives, and named. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serializeHeader } from '../../extension/core/checkpoint/serialize';
import type { CheckpointIndex } from '../../extension/core/checkpoint/types';
import type { Dtype } from '../../extension/core/dtypes';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { Budget } from '../../extension/core/options/budget';
import type { CompressReport } from '../../extension/core/reports';
import { nodeFiles } from '../../extension/node/files';
import type { EngineClient } from '../../extension/protocol/client';
import { native, option, PARAMETERS } from './native';
import { smallGrid, startEngine, workFolder } from './running';

const { folder, clean } = workFolder();
let engine: EngineClient;
beforeAll(() => {
  engine = startEngine();
});
afterAll(() => {
  engine.dispose();
  clean();
});

/** The same numbers every time, about normal. */
function normal(seed: number): () => number {
  let state = seed + 1;
  const uniform = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  return () => Array.from({ length: 12 }, uniform).reduce((sum, u) => sum + u, -6);
}

type Fill = (i: number, random: number) => number;
interface Tensor {
  name: string;
  dtype: Dtype;
  shape: number[];
  fill: Fill;
}

/** Bit patterns: BF16 cuts a float, F16 takes 2^15 times 1 to 2 with the sign of the value. */
function encode(dtype: Dtype, values: readonly number[]): Buffer {
  if (dtype === 'F64') return Buffer.from(Float64Array.from(values).buffer);
  if (dtype === 'F32') return Buffer.from(Float32Array.from(values).buffer);
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  const cut = (x: number): number => x >>> 16;
  const large = (x: number): number => ((x >>> 16) & 0x8000) | (30 << 10) | ((x >>> 8) & 0x3ff);
  return Buffer.from(Uint16Array.from(bits, dtype === 'BF16' ? cut : large).buffer);
}

function decode(index: CheckpointIndex, name: string): Float64Array {
  const { file, offset, bytes, dtype } = index.byName.get(name)!;
  const content = readFileSync(file).subarray(offset, offset + bytes);
  if (dtype === 'F32') return Float64Array.from({ length: bytes / 4 }, (_, i) => content.readFloatLE(4 * i));
  const one = (bits: number): number => {
    if (dtype === 'BF16') return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const magnitude =
      exponent === 31 ? Infinity : exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return bits & 0x8000 ? -magnitude : magnitude;
  };
  return Float64Array.from({ length: bytes / 2 }, (_, i) => one(content.readUInt16LE(2 * i)));
}

function writeModel(name: string, tensors: readonly Tensor[]): string {
  const model = path.join(folder, name);
  mkdirSync(model);
  const header = serializeHeader(tensors);
  const parts = tensors.map(({ name: tensor, dtype, shape, fill }) => {
    const random = normal(tensor.length);
    const count = shape.reduce((product, size) => product * size, 1);
    return encode(
      dtype,
      Array.from({ length: count }, (_, i) => fill(i, random())),
    );
  });
  writeFileSync(path.join(model, 'model.safetensors'), Buffer.concat([header.bytes, ...parts]));
  return model;
}

const compress = (model: string, out: string, budget: Budget = { kind: 'bits', value: 3 }): Promise<CompressReport> =>
  engine.request('compress', {
    device: 'cpu',
    cache: path.join(folder, 'cache'),
    model,
    out: path.join(folder, out),
    budget,
    method: 'lq-lora',
    ranks: [4],
    plain: true,
    iterations: 10,
    grid: [...smallGrid, { b0: 3, b1: 4, b2: 'fp16', B0: 32, B1: 16 }],
  });

const matrix = (name: string, dtype: Dtype, fill: Fill): Tensor => ({
  name: `model.layers.0.${name}.weight`,
  dtype,
  shape: [48, 80],
  fill,
});
const EXPERTS = 'model.layers.0.mlp.experts.gate_up_proj';
const tensors: Tensor[] = [
  matrix('a_proj', 'BF16', (_, x) => 0.02 * x),
  matrix('ternary_proj', 'F32', (_, x) => (Math.abs(x) < 0.6 ? 0 : 0.5 * Math.sign(x))),
  matrix('zero_proj', 'BF16', () => 0),
  matrix('constant_proj', 'BF16', () => 0.25),
  matrix('one_row_proj', 'BF16', (i, x) => (i < 80 ? x : 0)),
  matrix('outlier_proj', 'F32', (i, x) => (i === 1234 ? 1e15 : x)),
  matrix('beyond_half_proj', 'F32', (_, x) => 1e6 * x),
  matrix('half_limit_proj', 'F16', (_, x) => x),
  matrix('huge_proj', 'BF16', (i, x) => (i === 777 ? 1e38 : x)),
  matrix('wide_proj', 'F64', (_, x) => x),
  matrix('limit_proj', 'F32', (_, x) => 3.4e38 * Math.sign(x)),
  { name: EXPERTS, dtype: 'BF16', shape: [3, 24, 40], fill: (_, x) => 0.1 * x },
  { name: 'model.layers.0.mlp.router.weight', dtype: 'BF16', shape: [3, 80], fill: (_, x) => x },
  { name: 'model.layers.0.conv1d.weight', dtype: 'F32', shape: [48, 1, 4], fill: (_, x) => x },
  { name: 'model.layers.0.input_layernorm.weight', dtype: 'F32', shape: [80], fill: () => 1 },
  { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [50, 80], fill: (_, x) => x },
];

describe('a model of odd matrices', () => {
  let report: CompressReport;
  let source: CheckpointIndex;
  let dense: CheckpointIndex;
  beforeAll(async () => {
    const model = writeModel('odd', tensors);
    report = await compress(model, 'odd-packed');
    await engine.request('export', { device: 'cpu', model: report.output, format: 'dense', out: `${report.output}-d` });
    source = await openCheckpoint(nodeFiles, model);
    dense = await openCheckpoint(nodeFiles, `${report.output}-d`);
  });

  it('is compressed but for what is named with the reason', () => {
    expect(report.matrices.map(({ name }) => name)).toEqual(
      [...tensors.slice(0, 8).map(({ name }) => name), ...[0, 1, 2].map(i => `${EXPERTS}[${i}]`)].sort(),
    );
    const left = Object.fromEntries(report.coverage!.left.map(each => [each.example, each.reason]));
    expect(left).toEqual({
      'model.layers.0.huge_proj.weight': 'a value too large to be squared at flat index 777',
      'model.layers.0.limit_proj.weight': 'a value too large to be squared at flat index 0',
      'model.layers.0.wide_proj.weight': expect.stringContaining('stored as F64') as string,
      'model.layers.0.mlp.router.weight': 'routers of experts',
      'model.layers.0.conv1d.weight': 'convolutions',
      'model.layers.0.input_layernorm.weight': 'norms, biases and other vectors',
    });
    const { weights, blockWeights } = report.coverage!;
    expect(weights).toBe(8 * 48 * 80 + 3 * 24 * 40);
    expect(blockWeights).toBe(weights + 3 * 48 * 80 + 3 * 80 + 48 * 4 + 80);
  });

  it('stores nothing worse than quantisation alone', () => {
    for (const { name, errorStored, errorQuantized } of report.matrices) {
      expect(Number.isFinite(errorStored), name).toBe(true);
      expect(errorStored, name).toBeLessThanOrEqual(errorQuantized! * (1 + 1e-6));
    }
    const stored = (name: string) => report.matrices.find(each => each.name.includes(name))!.errorStored;
    expect(stored('ternary')).toBe(0);
    expect(stored('zero')).toBe(0);
  });

  it('is put together again with its experts in one tensor, finite, and the rest bit for bit', () => {
    expect(dense.tensors.map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual(
      source.tensors.map(({ name, dtype, shape }) => [name, dtype, shape]),
    );
    const kept = new Set(report.coverage!.left.map(({ example }) => example)).add('model.embed_tokens.weight');
    const bytes = (index: CheckpointIndex, name: string): Buffer => {
      const tensor = index.byName.get(name)!;
      return readFileSync(tensor.file).subarray(tensor.offset, tensor.offset + tensor.bytes);
    };
    const errors = new Map(report.matrices.map(({ name, errorStored }) => [name, errorStored]));
    for (const { name } of source.tensors) {
      if (kept.has(name)) {
        expect(bytes(dense, name).equals(bytes(source, name)), name).toBe(true);
        continue;
      }
      const [before, after] = [decode(source, name), decode(dense, name)];
      expect(
        after.every(value => Number.isFinite(value)),
        name,
      ).toBe(true);
      const of = name === EXPERTS ? [0, 1, 2].map(i => errors.get(`${name}[${i}]`)!) : [errors.get(name)!];
      const norm = Math.hypot(...before);
      const error = norm === 0 ? 0 : Math.hypot(...before.map((value, i) => value - after[i]!)) / norm;
      expect(error, name).toBeLessThan(Math.max(...of) + 5e-3);
    }
  });
});

it('stores factors only where they earn their bytes, when the budget counts them', async () => {
  const model = writeModel('plain', tensors.slice(0, 2));
  const report = await compress(model, 'plain-packed', { kind: 'effective-bits', value: 4 });
  const ternary = report.matrices.find(({ name }) => name.includes('ternary'))!;
  expect(ternary.option.rank).toBe(0);
  expect(ternary.errorStored).toBe(0);
  expect(report.effectiveBits).toBeLessThanOrEqual(4);
});

it('ends with the index of the value when no matrix is left', async () => {
  const model = writeModel('huge', [matrix('huge_proj', 'F32', i => (i === 5 ? -1e30 : 0))]);
  await expect(compress(model, 'huge-packed')).rejects.toMatchObject({
    code: 'out-of-range',
    tensor: 'model.layers.0.huge_proj.weight',
    details: { index: 5 },
  });
});

it('ends at a NaN with its place and with what leaves it out', async () => {
  const model = writeModel('broken', [
    matrix('good_proj', 'F32', (_, x) => x),
    matrix('nan_proj', 'F32', (i, x) => (i === 99 ? NaN : x)),
  ]);
  await expect(compress(model, 'broken-packed')).rejects.toMatchObject({
    code: 'not-finite',
    tensor: 'model.layers.0.nan_proj.weight',
    details: { index: 99 },
    message: expect.stringContaining('--exclude') as string,
  });
});

describe.each(['compressed-tensors', 'mlx', 'bitsandbytes', 'exl3'] as const)('for %s', target => {
  it('leaves a matrix as it is that is too large to be squared, and plans its bytes', async () => {
    const model = writeModel(`large-${target}`, [
      { name: 'model.layers.0.good_proj.weight', dtype: 'F32', shape: [128, 128], fill: (_, x) => x },
      {
        name: 'model.layers.0.huge_proj.weight',
        dtype: 'F32',
        shape: [128, 128],
        fill: (i, x) => (i === 7 ? 1e38 : x),
      },
    ]);
    writeFileSync(path.join(model, 'config.json'), '{"model_type":"llama"}');
    const report = await engine.request('compress', {
      device: 'cpu',
      cache: path.join(folder, 'cache'),
      model,
      out: path.join(folder, `large-${target}-out`),
      budget: { kind: 'effective-bits', value: 5 },
      for: target,
      plain: true,
    });
    expect(report.matrices.map(({ name }) => name)).toEqual(['model.layers.0.good_proj.weight']);
    const bytes = (await openCheckpoint(nodeFiles, report.output)).shards.reduce((sum, shard) => sum + shard.bytes, 0);
    expect(report.bytes).toBe(bytes);
    expect(bytes).toBeGreaterThan(4 * 128 * 128);
  });
});

describe('whatever the values of a matrix', () => {
  const [rows, cols] = [24, 40];
  const options = [
    option([2, 2, 'bf16', 16, 16], 0),
    option([3, 4, 'fp16', 32, 16], 2),
    option([4, 4, 'fp32', 64, 64], 8),
    option([2, 4, 'fp16', 16, 64], 0),
  ];
  const kinds: Record<string, (scale: number) => Fill> = {
    normal: scale => (_, x) => scale * x,
    'of one outlier': scale => (i, x) => (i === 100 ? scale : x * Math.min(scale, 1)),
    sparse: scale => (i, x) => (i % 97 === 0 ? scale * x : 0),
    'of one sign': scale => (_, x) => scale * Math.abs(x),
    'of many magnitudes': scale => (i, x) => scale * x * 10 ** -(i % 40),
  };
  it.each(Object.keys(kinds))('costs are finite and not negative: %s', async kind => {
    for (let exponent = -44; exponent <= 17; exponent += 3) {
      const fill = kinds[kind]!(10 ** exponent);
      const random = normal(exponent + 50);
      const file = path.join(folder, 'values');
      writeFileSync(
        file,
        encode(
          'F32',
          Array.from({ length: rows * cols }, (_, i) => fill(i, random())),
        ),
      );
      const weight = { kind: 'dense' as const, path: file, offset: 0, dtype: 'F32' as const, rows, cols };
      const result = await native.sweep('cpu', weight, options, PARAMETERS, {});
      for (const values of [result.costs, result.squaredErrors, result.quantizedCosts])
        for (const value of values) {
          expect(Number.isFinite(value), `${value} at 1e${exponent}`).toBe(true);
          expect(value, `at 1e${exponent}`).toBeGreaterThanOrEqual(0);
        }
      expect(result.norm).toBeGreaterThanOrEqual(0);
    }
  });
});
