/** Block types of GGUF as they are written: sizes, what is decoded again, and what feedback is worth. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ggufTypeNamed } from '../../extension/core/checkpoint/gguf/types';
import type { DenseSource, NativeMetric, NativeRounding } from '../../extension/core/native';
import { ggufOption, type GgufOptionType } from '../../extension/core/options/methods/gguf';
import { native, sampleTensor } from './native';

const folder = mkdtempSync(path.join(os.tmpdir(), 'lq-gguf-encode-'));
afterAll(() => rmSync(folder, { recursive: true }));

const weight = sampleTensor('model.layers.0.mlp.gate_proj.weight'); // 688 x 256
const { rows, cols } = weight;

function floats(name: string, height: number, width: number, value: (i: number) => number): DenseSource {
  const file = path.join(folder, name);
  writeFileSync(file, Buffer.from(Float32Array.from({ length: height * width }, (_, i) => value(i)).buffer));
  return { kind: 'dense', path: file, offset: 0, dtype: 'F32', rows: height, cols: width };
}

/** Inputs that resemble their neighbours. */
const kfac: NativeMetric = {
  kind: 'kfac',
  rowWeight: floats('rows', 1, rows, i => 1e-3 * (1 + (i % 5))),
  secondMoment: floats('moment', cols, cols, i => 0.9 ** Math.abs(Math.floor(i / cols) - (i % cols))),
  damping: 0.01,
};

/** Relative squared errors that the types stay below on weights of a trained model. */
const LIMITS: Readonly<Partial<Record<GgufOptionType, number>>> = {
  ...{ IQ2_XXS: 0.15, IQ2_XS: 0.12, IQ2_S: 0.1, Q2_K: 0.12, IQ3_XXS: 0.05, Q3_K: 0.035, IQ3_S: 0.035 },
  ...{ IQ4_XS: 0.008, IQ4_NL: 0.008, Q4_K: 0.008, Q4_0: 0.01, Q4_1: 0.01, MXFP4: 0.02 },
  ...{ Q5_0: 0.003, Q5_1: 0.003, Q5_K: 0.002, Q6_K: 0.0006, Q8_0: 0.00005 },
};

async function encoded(type: GgufOptionType, metric: NativeMetric, rounding: NativeRounding) {
  const { weights, bytes } = ggufTypeNamed(type)!.type;
  const file = path.join(folder, `${type}-${metric.kind}-${rounding}`);
  const size = (rows * cols * bytes) / weights;
  const handle = openSync(file, 'w');
  ftruncateSync(handle, size);
  closeSync(handle);
  const range = { path: file, offset: 0, bytes: size };
  const option = { ...ggufOption(type), rounding };
  const costs = await native.encode('cpu', weight, option, { metric, seed: 0 }, { parts: { codes: range } }, {});
  return { ...costs, source: { kind: 'gguf', type, rows, cols, range } as const };
}

it.each(Object.entries(LIMITS) as [GgufOptionType, number][])('%s', async (type, limit) => {
  const plain = await encoded(type, { kind: 'plain' }, 'descent');
  // What is decoded from the file is as far from the weight as the encoder says.
  const read = await native.difference('cpu', weight, plain.source, 1, 1, {});
  expect(read.squaredError / plain.squaredError).toBeCloseTo(1, 4);
  expect(read.squaredError / read.squaredNorm).toBeLessThan(limit);
  expect(read.squaredError).toBeGreaterThan(0);

  const nearest = await encoded(type, kfac, 'nearest');
  const feedback = await encoded(type, kfac, 'feedback');
  const descent = await encoded(type, kfac, 'descent');
  expect(feedback.cost).toBeLessThan(0.8 * nearest.cost);
  expect(descent.cost).toBeLessThanOrEqual(feedback.cost * 1.0001);
});

it.each([
  ['F16', 1e-7],
  ['BF16', 0],
] as const)('%s is the nearest in it, with any rounding', async (type, limit) => {
  const plain = await encoded(type, { kind: 'plain' }, 'descent');
  const read = await native.difference('cpu', weight, plain.source, 1, 1, {});
  expect(read.squaredError).toBeCloseTo(plain.squaredError, 12);
  expect(read.squaredError / read.squaredNorm).toBeLessThanOrEqual(limit);
  expect((await encoded(type, kfac, 'descent')).squaredError).toBe(plain.squaredError);
});

it('a destination of another size is refused', async () => {
  const range = { path: path.join(folder, 'rows'), offset: 0, bytes: 10 };
  const option = ggufOption('Q4_K');
  const metric = { kind: 'plain' } as const;
  await expect(async () =>
    native.encode('cpu', weight, option, { metric, seed: 0 }, { parts: { codes: range } }, {}),
  ).rejects.toThrow(/codes has 10 bytes/);
});
