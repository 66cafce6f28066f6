import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { compareStructure } from '../../../extension/core/analysis/compare';
import { duplicateFindings, statisticsFindings, structureFindings } from '../../../extension/core/analysis/health';
import { inspectReport } from '../../../extension/core/analysis/inspect';
import { spectrumReport } from '../../../extension/core/analysis/spectrum';
import { tensorStatistics } from '../../../extension/core/analysis/statistics';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import type { LogicalTensor } from '../../../extension/core/checkpoint/types';
import type { NativeStatistics } from '../../../extension/core/native';
import { nodeFiles } from '../../../extension/node/files';
import { bf16, f32, validFile } from '../checkpoint/containers';
import { formatSource } from '../checkpoint/families';
import { MemoryFiles } from '../checkpoint/memory-files';

const sample = fileURLToPath(new URL('../../../media/sample/tiny-books-4m', import.meta.url));

/** Statistics of row-major values, by the definitions. */
function nativeStatistics(values: number[], rows: number): NativeStatistics {
  const cols = values.length / rows;
  const norm = (pick: (i: number) => boolean): number => Math.hypot(...values.filter((_, i) => pick(i)));
  const finite = values.filter(Number.isFinite);
  const mean = finite.reduce((a, b) => a + b, 0) / finite.length;
  return {
    count: values.length,
    zeros: values.filter(value => value === 0).length,
    nans: values.filter(Number.isNaN).length,
    infs: values.filter(value => Math.abs(value) === Infinity).length,
    firstNan: values.findIndex(Number.isNaN),
    firstInf: values.findIndex(value => Math.abs(value) === Infinity),
    min: Math.min(...finite),
    max: Math.max(...finite),
    mean,
    stddev: Math.sqrt(finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / finite.length),
    absmax: Math.max(...finite.map(Math.abs)),
    kurtosis: 0,
    histogram: { low: 0, high: 1, counts: new Float64Array([1, 2]), sampled: 3 },
    rowNorms: Float64Array.from({ length: rows }, (_, r) => norm(i => Math.floor(i / cols) === r)),
    colNorms: Float64Array.from({ length: cols }, (_, c) => norm(i => i % cols === c)),
  };
}

function tensor(name: string, ...shape: number[]): LogicalTensor {
  return logicalTensors(formatSource([f32(name, ...shape)]))[0]!;
}

describe('inspectReport', () => {
  it('is what the command line promises, for the sample', async () => {
    const report = inspectReport(await openCheckpoint(nodeFiles, sample));
    const embedding = report.tensors.find(({ name }) => name === 'model.embed_tokens.weight')!;
    expect(embedding).toEqual({
      name: 'model.embed_tokens.weight',
      dtype: 'BF16',
      shape: [2048, 256],
      bytes: 2048 * 256 * 2,
      file: `${sample}/model-00001-of-00002.safetensors`,
    });
    expect(report.bitsPerWeight).toBe(16);
    expect(report.parameters).toBe(
      report.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    );
    expect(report.layers).toHaveLength(report.tensors.length);
    expect(report.problems).toEqual([]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report).not.toHaveProperty('adapter');
  });

  it('sums up an adapter', async () => {
    const files = new MemoryFiles({
      '/a/adapter_model.safetensors': validFile([
        f32('m.q_proj.lora_A.weight', 4, 8),
        f32('m.q_proj.lora_B.weight', 6, 4),
      ]),
      '/a/adapter_config.json': '{"r":4,"lora_alpha":16}',
    });
    const report = inspectReport(await openCheckpoint(files, '/a'));
    expect(report.adapter).toEqual({ rank: [4, 4], alpha: 16, targets: ['q_proj'] });
    expect([report.parameters, report.bitsPerWeight, report.layers.length]).toEqual([56, 32, 1]);
  });
});

describe('tensorStatistics', () => {
  it('sums up norms and keeps plain arrays', () => {
    const { rowNorms, colNorms, histogram } = tensorStatistics(
      tensor('w', 2, 3),
      nativeStatistics([3, 4, 0, 0, 0, 0], 2),
    );
    expect(rowNorms).toEqual({ min: 0, max: 5, mean: 2.5, zero: 1 });
    expect(colNorms).toEqual({ min: 0, max: 4, mean: 7 / 3, zero: 1 });
    expect(histogram.counts).toEqual([1, 2]);
  });
  it('leaves norms with NaN out', () => {
    expect(tensorStatistics(tensor('w', 2, 1), nativeStatistics([NaN, 2], 2)).rowNorms).toEqual({
      min: 2,
      max: 2,
      mean: 2,
      zero: 0,
    });
  });
});

describe('spectrumReport', () => {
  const normOf = (values: number[]): number => Math.hypot(...values);

  it('gives the smallest rank for each share, -1 when it lies beyond the values known', () => {
    const values = [3, 2, 1, 1];
    const { rankFor } = spectrumReport('w', values, normOf(values));
    expect(rankFor).toEqual([
      { share: 0.5, rank: 1 },
      { share: 0.9, rank: 3 },
      { share: 0.95, rank: 4 },
      { share: 0.99, rank: 4 },
    ]);
    expect(spectrumReport('w', values, Math.sqrt(30)).rankFor[0]).toEqual({ share: 0.5, rank: 4 });
    expect(spectrumReport('w', values, 10).rankFor[0]!.rank).toBe(-1);
  });

  it('gives the same ranks at every magnitude', () => {
    for (const scale of [1e-300, 1e-30, 1e30, 1e300]) {
      const values = [3, 2, 1, 1].map(value => value * scale);
      expect(spectrumReport('w', values, normOf(values)).rankFor.map(({ rank }) => rank)).toEqual([1, 3, 4, 4]);
    }
    expect(spectrumReport('w', [0, 0], 0).rankFor[0]!.rank).toBe(0);
  });

  it('finds the rank of a low-rank matrix in noise, to a power of two', () => {
    for (const rank of [8, 16, 32]) {
      const values = Array.from({ length: 256 }, (_, i) => (i < rank ? 100 - i : 10 - i / 32));
      expect(spectrumReport('w', values, normOf(values)).suggestedRank).toBe(rank);
    }
  });

  it('suggests none for flat, straight, short and zero spectra', () => {
    const spectra = [Array<number>(64).fill(1), Array.from({ length: 64 }, (_, i) => 64 - i), [2, 1], [], [0, 0, 0, 0]];
    for (const values of spectra) expect(spectrumReport('w', values, normOf(values)).suggestedRank).toBe(0);
  });
});

describe('health', () => {
  const findings = (name: string, values: number[], rows: number) => {
    const shape = rows === 1 ? [values.length] : [rows, values.length / rows];
    const subject = tensor(name, ...shape);
    const found = statisticsFindings(subject, tensorStatistics(subject, nativeStatistics(values, rows)));
    expect(found.every(finding => finding.tensor === name && finding.file === '/m/model.safetensors')).toBe(true);
    return found.map(({ code, severity }) => `${code} ${severity}`);
  };
  const W = 'model.layers.0.mlp.up_proj.weight';

  it.each([
    ['a sound weight', W, [1, 2, 3, 4], 2, []],
    ['NaN and Inf', W, [1, NaN, Infinity, 4], 2, ['nan error', 'inf error']],
    ['a dead row', W, [1, 2, 0, 0], 2, ['dead-rows warning']],
    ['a dead column', W, [1, 0, 2, 0], 2, ['dead-columns warning']],
    ['a token nobody uses', 'model.embed_tokens.weight', [1, 2, 0, 0], 2, ['dead-rows information']],
    ['a zero weight', W, [0, 0, 0, 0], 2, ['all-zero warning']],
    ['a zero bias', 'layers.0.q_proj.bias', [0, 0], 1, ['all-zero information']],
    ['a constant weight', W, [2, 2, 2, 2], 2, ['constant warning']],
    ['a constant norm', 'model.norm.weight', [1, 1], 1, ['constant information']],
    ['an overflow', W, [1, 2, 3, -1e30], 2, ['absurd-absmax warning']],
    ['a scalar', 'scale', [0], 1, []],
  ])('%s', (_, name, values, rows, expected) => {
    expect(findings(name, values, rows)).toEqual(expected);
  });

  it('passes over integer buffers', () => {
    const ids = logicalTensors(formatSource([{ name: 'position_ids', dtype: 'I64', shape: [1, 2] }]))[0]!;
    expect(statisticsFindings(ids, tensorStatistics(ids, nativeStatistics([0, 0], 1)))).toEqual([]);
  });

  it('finds weights stored twice, and tells tied ones from copies', () => {
    const named = ['model.embed_tokens.weight', 'lm_head.weight', W, 'x.weight'].map(name => tensor(name, 2, 2));
    const [embedding, head, up, x] = named as [LogicalTensor, LogicalTensor, LogicalTensor, LogicalTensor];
    const found = duplicateFindings([
      { tensor: embedding, hash: 'a' },
      { tensor: head, hash: 'a' },
      { tensor: up, hash: 'b' },
      { tensor: x, hash: 'b' },
      { tensor: tensor('n1', 4), hash: 'c' },
      { tensor: tensor('n2', 4), hash: 'c' },
      { tensor: tensor('other', 4, 1), hash: 'b' },
    ]);
    expect(found.map(({ code, severity, tensor: of }) => [code, severity, of])).toEqual([
      ['tied-twice', 'information', 'lm_head.weight'],
      ['duplicate-content', 'warning', 'x.weight'],
    ]);
  });

  it('carries the faults of the structure', () => {
    const problem = { severity: 'error', code: 'shard-missing', message: 'x', file: '/m/a' } as const;
    expect(structureFindings([problem])).toEqual([problem]);
  });
});

it('compareStructure tells what is only in one, reshaped, and in both', async () => {
  const files = new MemoryFiles({
    '/a/model.safetensors': validFile([f32('same', 2), f32('shape', 2, 3), f32('a', 1)]),
    '/b/model.safetensors': validFile([bf16('same', 2), f32('shape', 3, 2), f32('b', 1), f32('b2', 1)]),
  });
  const [a, b] = await Promise.all([openCheckpoint(files, '/a'), openCheckpoint(files, '/b')]);
  expect(compareStructure(a, b)).toEqual({
    a: '/a',
    b: '/b',
    onlyA: ['a'],
    onlyB: ['b', 'b2'],
    reshaped: [{ name: 'shape', a: '2 × 3', b: '3 × 2' }],
    tensors: [{ name: 'same', shape: [2], formatA: 'dense', formatB: 'dense' }],
  });
});
