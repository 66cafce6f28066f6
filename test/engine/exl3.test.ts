/** EXL3 folders: what is in them, what this program makes of them, and an independent reading of their weights. */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../extension/core/logical/open';
import { logicalTensors } from '../../extension/core/logical/logical';
import { weightLookup } from '../../extension/core/logical/lookup';
import type { CheckpointIndex } from '../../extension/core/checkpoint/types';
import { compress } from '../../extension/core/pipeline';
import type { CompressReport } from '../../extension/core/reports';
import { evaluate } from '../../extension/core/stages/evaluate';
import { exportCheckpoint } from '../../extension/core/stages/export';
import { nodeFiles } from '../../extension/node/files';
import { native } from './native';
import { sample, workFolder } from './running';
import { frontierRequest, tinyContext, WIDE, writeTinyModel } from './tiny';

const { folder, clean } = workFolder();
afterAll(clean);
const context = tinyContext(path.join(folder, 'cache'));
const K = 'model.layers.0.self_attn.k_proj';

const bytesOf = (index: CheckpointIndex, name: string): Buffer => {
  const { file, offset, bytes } = index.byName.get(name)!;
  return readFileSync(file).subarray(offset, offset + bytes);
};
const half = (bits: number): number => {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits >> 15 ? -size : size;
};
const halves = (bytes: Buffer): number[] =>
  Array.from({ length: bytes.length / 2 }, (_, i) => half(bytes.readUInt16LE(2 * i)));

/** The weight [in, out] of a module as exllamav3 puts it together (modules/quant/exl3.py), in double precision. */
function asExllamaReads(
  index: CheckpointIndex,
  module: string,
): { inputs: number; outputs: number; weight: number[][] } {
  const [across = 0, down = 0, words = 0] = index.byName.get(`${module}.trellis`)!.shape;
  const [trellis, bits] = [bytesOf(index, `${module}.trellis`), words / 16];
  const [inputs, outputs] = [16 * across, 16 * down];
  const weight = Array.from({ length: inputs }, () => new Array<number>(outputs).fill(0));
  for (let tile = 0; tile < across * down; tile++) {
    // The two halves of every 32 bits change places; then the stream is read from its highest bit on.
    const stream = Array.from({ length: words }, (_, i) => trellis.readUInt16LE(2 * (tile * words + (i ^ 1))))
      .map(word => word.toString(2).padStart(16, '0'))
      .join('');
    const ring = stream + stream;
    for (let t = 0; t < 256; t++) {
      const end = (t + 1) * bits + stream.length;
      const state = parseInt(ring.slice(end - 16, end), 2);
      const mixed = ((Math.imul(state, 89226354) + 64248484) & 0x8fff8fff) ^ 0x3b603b60;
      const value = half(mixed & 0xffff) + half(mixed >>> 16);
      const [lane, k] = [t >> 3, t & 7];
      const row = 2 * (lane & 3) + (k & 1) + (k & 2 ? 8 : 0);
      const column = (lane >> 2) + (k & 4 ? 8 : 0);
      weight[16 * Math.floor(tile / down) + row]![16 * (tile % down) + column] = value;
    }
  }
  const hadamard = (read: (i: number) => number, write: (i: number, value: number) => void): void => {
    const before = Array.from({ length: 128 }, (_, i) => read(i));
    for (let i = 0; i < 128; i++) {
      const sum = before.reduce((total, value, j) => {
        let parity = 0;
        for (let both = i & j; both; both &= both - 1) parity ^= 1;
        return total + (parity ? -value : value);
      }, 0);
      write(i, sum / Math.sqrt(128));
    }
  };
  for (let block = 0; block < inputs; block += 128)
    for (let o = 0; o < outputs; o++)
      hadamard(
        i => weight[block + i]![o]!,
        (i, value) => (weight[block + i]![o] = value),
      );
  for (const row of weight)
    for (let block = 0; block < outputs; block += 128)
      hadamard(
        i => row[block + i]!,
        (i, value) => (row[block + i] = value),
      );
  const [suh, svh] = [halves(bytesOf(index, `${module}.suh`)), halves(bytesOf(index, `${module}.svh`))];
  return { inputs, outputs, weight: weight.map((row, i) => row.map((value, o) => value * suh[i]! * svh[o]!)) };
}

describe('a matrix of the sample', () => {
  const out = path.join(folder, 'sample');
  let index: CheckpointIndex;
  beforeAll(async () => {
    const budget = { kind: 'bits', value: 3.5 } as const;
    await compress(context, { model: sample, out, for: 'exl3', include: [`${K}.weight`], plain: true, budget });
    index = await openCheckpoint(nodeFiles, out);
  }, 60_000);

  it('is the one that exllamav3 puts together, in its orientation', async () => {
    const { inputs, outputs, weight } = asExllamaReads(index, K);
    expect([outputs, inputs]).toEqual([128, 256]);
    const { mean } = await native.preview('cpu', weightLookup(index)(`${K}.weight`)!, outputs, inputs, {});
    const size = Math.sqrt(mean.reduce((sum, value) => sum + value ** 2, 0) / mean.length);
    // But for the values, which are rounded to fp16 here as in the kernels of exllamav3.
    const apart = mean.map((value, at) => Math.abs(value - weight[at % inputs]![Math.floor(at / inputs)]!));
    const most = apart.reduce((largest, value) => Math.max(largest, value), 0);
    expect(most / size).toBeLessThan(5e-3);
    expect(most).toBeGreaterThan(0);
  });

  it('leaves the others as they are, and says why', async () => {
    expect(
      logicalTensors(index)
        .filter(({ format }) => format === 'exl3')
        .map(({ name, dtype }) => [name, dtype]),
    ).toEqual([[`${K}.weight`, 'EXL3 K3 3inst']]);
    const narrow = writeTinyModel(folder);
    const request = { model: narrow, out: path.join(folder, 'none'), for: 'exl3', plain: true } as const;
    await expect(compress(context, { ...request, budget: { kind: 'bits', value: 3 } })).rejects.toMatchObject({
      code: 'no-targets',
      message: expect.stringContaining('sides that 128 divides') as string,
    });
  });
});

describe('a model with its head, in layer order', () => {
  const out = path.join(folder, 'exl3');
  let report: CompressReport;
  let text: string;
  beforeAll(async () => {
    const request = frontierRequest(writeTinyModel(folder, false, WIDE), out);
    text = request.evalText!;
    report = await compress(
      { ...context, threads: 2 },
      {
        ...{ ...request, for: 'exl3', embeddings: true, budget: { kind: 'bits', value: 2.5 } },
        include: ['*.q_proj.*', '*.k_proj.*', '*.v_proj.*'],
      },
    );
  }, 120_000);

  it('is as large as planned, to the byte', async () => {
    const { shards } = await openCheckpoint(nodeFiles, out);
    expect(shards.reduce((sum, { file }) => sum + statSync(file).size, 0)).toBe(report.bytes);
    expect(report.matrices.map(({ name }) => name)).toContain('lm_head.weight');
    expect(report.coverage?.left.map(({ example }) => example)).toContain('model.embed_tokens.weight');
    expect(report.delivered.checks).toHaveLength(2);
  });

  it('lists every stored tensor of a module as it is, for GPTQModel', async () => {
    const index = await openCheckpoint(nodeFiles, out);
    const config = JSON.parse(readFileSync(path.join(out, 'config.json'), 'utf8')) as {
      quantization_config: {
        head_bits: number;
        tensor_storage: Record<string, { stored_tensors: Record<string, { shape: number[]; n_bytes: number }> }>;
      };
    };
    const { tensor_storage: storage, head_bits: bits } = config.quantization_config;
    expect(index.byName.get('lm_head.trellis')!.shape).toEqual([8, 128, 16 * bits]);
    expect(Object.keys(storage).sort()).toEqual(report.matrices.map(({ name }) => name.replace('.weight', '')).sort());
    for (const [module, { stored_tensors: stored }] of Object.entries(storage)) {
      expect(Object.keys(stored)).toEqual([`${module}.trellis`, `${module}.suh`, `${module}.svh`]);
      for (const [name, { shape, n_bytes: bytes }] of Object.entries(stored))
        expect(index.byName.get(name), name).toMatchObject({ shape, bytes });
    }
    for (const program of [/^exllamav3/, /^GPTQModel/, /^LQ Studio/])
      expect(report.delivered.loads.find(verdict => program.test(verdict.program))).toMatchObject({ loads: 'yes' });
  });

  it('has the perplexity of the report, and of its dense export', async () => {
    const dense = path.join(folder, 'dense');
    await exportCheckpoint(context, { model: out, out: dense, format: 'dense', dtype: 'fp32' });
    const perplexity = async (model: string): Promise<number> =>
      (await evaluate(context, { model, text, context: 32, windows: 2 })).perplexity;
    const own = await perplexity(out);
    expect(own).toBeCloseTo(report.after.perplexity!, 6);
    expect((await perplexity(dense)) / own).toBeCloseTo(1, 6);
    expect(Math.abs(own / report.before.perplexity! - 1)).toBeGreaterThan(1e-4);
  });
});
