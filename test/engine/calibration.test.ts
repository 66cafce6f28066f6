import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CheckpointIndex } from '../../extension/core/checkpoint/types';
import type { PipelineContext } from '../../extension/core/context';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { readWindows } from '../../extension/core/evaluation/windows';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { selectTargets } from '../../extension/core/logical/targets';
import type { ByteRange, DenseSource } from '../../extension/core/native';
import { computeCalibration, mergeCalibration, openCalibration } from '../../extension/core/sensitivity/calibration';
import { openFisher } from '../../extension/core/sensitivity/fisher';
import { calibrate } from '../../extension/core/stages/statistics';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';
import golden from '../fixtures/calibration-tiny-books-4m.json';
import { context, temporary } from '../unit/export/harness';
import { frontierRequest, tinyContext, writeTinyModel } from './tiny';

const SAMPLE = path.resolve('media/sample/tiny-books-4m');
const CALIBRATION = path.resolve('media/sample/calibration.txt');

const { folder, remove } = temporary();
afterAll(() => remove());
const out = path.join(folder, 'calibration.safetensors');

const pipeline = (): PipelineContext => ({ ...context(), native: loadNative(path.resolve('dist/native')) });

function input(index: CheckpointIndex, changes: { samples?: number; out?: string; calibration?: string } = {}) {
  return {
    index,
    targets: selectTargets(logicalTensors(index)),
    calibration: CALIBRATION,
    samples: golden.samples,
    contextLength: golden.context,
    model: 'of-the-sample',
    fisher: true,
    held: Infinity,
    out,
    ...changes,
  };
}

function values({ path: file, offset, rows, cols }: DenseSource): Float32Array {
  const bytes = readFileSync(file).subarray(offset, offset + 4 * rows * cols);
  return new Float32Array(Uint8Array.from(bytes).buffer);
}
const sum = (array: ArrayLike<number>): number => Array.from(array).reduce((total, value) => total + value, 0);

describe('calibration statistics of the sample', () => {
  it('are those PyTorch and transformers give', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const report = await computeCalibration(pipeline(), input(index));
    golden.losses.forEach((loss, i) => expect(Math.abs(report.losses[i]! - loss)).toBeLessThan(1e-5));
    expect(report).toMatchObject({ samples: 4, context: 512, tokens: 2048, out });
    expect(existsSync(`${out}.partial`)).toBe(false);
    const source = await openCalibration(pipeline(), out, input(index).targets);
    expect([...source.matrices.keys()].sort()).toEqual(Object.keys(golden.matrices).sort());
    for (const [name, matrix] of source.matrices) {
      const expected = golden.matrices[name as keyof typeof golden.matrices];
      const rows = values(matrix.rowMean);
      expect(sum(rows) / rows.length / expected.fisherMean, name).toBeCloseTo(1, 4);
      expect(rows[0]! / expected.first, name).toBeCloseTo(1, 3);
      expect(rows.at(-1)! / expected.last, name).toBeCloseTo(1, 3);
      const fisher = values(matrix.fisher!);
      expect(sum(fisher) / fisher.length / expected.fisherMean, name).toBeCloseTo(1, 4);
      const moment = golden.inputs[matrix.input as keyof typeof golden.inputs];
      const { rows: n } = matrix.secondMoment;
      const a = values(matrix.secondMoment);
      expect(matrix.meanSquare / moment.meanSquare, name).toBeCloseTo(1, 5);
      expect(Math.sqrt(sum(a.map(value => value * value))) / moment.norm, name).toBeCloseTo(1, 4);
      for (const [i, j, value] of moment.elements as [number, number, number][]) {
        expect(Math.abs(a[i * n + j]! - value), name).toBeLessThan(1e-5 * moment.norm);
        expect(a[j * n + i]).toBe(a[i * n + j]);
      }
    }
    // q, k and v share an input, gate and up share one.
    expect(new Set([...source.matrices.values()].map(matrix => matrix.input)).size).toBe(4 * 4);
    // With F in it the file is a Fisher file as well.
    expect((await openFisher(pipeline(), out, input(index).targets)).matrices.size).toBe(source.matrices.size);
  }, 120_000);

  it('add up to those of one pass over all of the text', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const [short, rest, merged] = ['short', 'rest', 'merged'].map(name => path.join(folder, `${name}.safetensors`));
    await computeCalibration(pipeline(), input(index, { samples: 1, out: short! }));
    const tokenizer = await TextTokenizer.load(pipeline(), index.folder);
    // The text from the second window on.
    const windows = await readWindows(nodeFiles, tokenizer, 2048, CALIBRATION, { context: 512, windows: 1 });
    let end = 0;
    const text = readFileSync(CALIBRATION, 'utf8');
    while ((await tokenizer.encode(text.slice(0, end))).length < windows.tokens.length) end += 50;
    const later = path.join(folder, 'later.txt');
    writeFileSync(later, text.slice(end));
    await computeCalibration(pipeline(), input(index, { samples: 3, out: rest!, calibration: later }));
    const report = await mergeCalibration(pipeline(), [short!, rest!], 'of-the-sample', merged!);
    expect(report).toMatchObject({ samples: 4, tokens: 2048 });
    const [a, b, both] = await Promise.all(
      [short!, rest!, merged!].map(file => openCalibration(pipeline(), file, input(index).targets)),
    );
    for (const [name, matrix] of both!.matrices) {
      const [first, second] = [a!.matrices.get(name)!, b!.matrices.get(name)!];
      expect(matrix.meanSquare / (0.25 * first.meanSquare + 0.75 * second.meanSquare)).toBeCloseTo(1, 5);
      const [one, other, all] = [first, second, matrix].map(({ rowMean }) => values(rowMean)[1]!);
      expect(all! / (0.25 * one! + 0.75 * other!)).toBeCloseTo(1, 5);
    }
    await expect(mergeCalibration(pipeline(), [short!, out], 'of-the-sample', merged!)).resolves.toMatchObject({
      samples: 5,
    });
    await expect(mergeCalibration(pipeline(), [short!, rest!], 'another', merged!)).rejects.toMatchObject({
      code: 'calibration-mismatch',
    });
  }, 120_000);

  it('of another model are refused by the tensor that differs', async () => {
    const [first, ...others] = input(await openCheckpoint(nodeFiles, SAMPLE)).targets;
    const renamed = { ...first!, name: 'another.weight' };
    await expect(openCalibration(pipeline(), out, [...others, renamed])).rejects.toMatchObject({
      code: 'calibration-mismatch',
      tensor: 'another.weight',
    });
    await expect(openCalibration(pipeline(), out, [{ ...first!, shape: [3, 256] }])).rejects.toMatchObject({
      code: 'calibration-mismatch',
      tensor: `${first!.name}.fisher_row_mean`,
    });
    await expect(openCalibration(pipeline(), SAMPLE, others)).rejects.toMatchObject({ code: 'calibration-mismatch' });
  });
});

describe('the pass in layer order', () => {
  it('has the dense statistics until a matrix is replaced, and a difference of the streams from then on', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const run = pipeline();
    const source = await openCalibration(run, out, input(index).targets);
    const tokenizer = await TextTokenizer.load(pipeline(), index.folder);
    const windows = await readWindows(nodeFiles, tokenizer, 2048, CALIBRATION, {
      context: golden.context,
      windows: golden.samples,
    });
    const model = describeModel(index);
    const pass = await run.native.openLayerPass('cpu', model.config, [...model.weights], windows.tokens, 512);
    const file = path.join(folder, 'moments');
    writeFileSync(file, '');
    truncateSync(file, 2 * 4 * 256 * 256);
    const range = (i: number): ByteRange => ({ path: file, offset: i * 4 * 256 * 256, bytes: 4 * 256 * 256 });
    const moments = async (layer: number, which: 'attention' | 'mlp') => {
      await pass.moments({ layer, input: which }, { secondMoment: range(0), cross: range(1) }, {});
      const read = (i: number): Float32Array =>
        values({ kind: 'dense', path: file, offset: range(i).offset, dtype: 'F32', rows: 256, cols: 256 });
      return { moment: read(0), cross: read(1) };
    };
    try {
      await pass.advance(0, {});
      const before = await moments(1, 'attention');
      const dense = values(source.matrices.get('model.layers.1.self_attn.q_proj.weight')!.secondMoment);
      const largest = Math.max(...dense);
      before.moment.forEach((value, i) => expect(Math.abs(value - dense[i]!)).toBeLessThan(1e-5 * largest));
      expect(before.cross.every(value => value === 0)).toBe(true);
      const other = model.weights.find(({ layer, kind }) => layer === 2 && kind === 'v')!;
      await pass.replace({ layer: 1, kind: 'v' }, other.source, {});
      const after = await moments(1, 'mlp');
      expect(Math.max(...after.cross.map(Math.abs))).toBeGreaterThan(0.01 * Math.max(...after.moment));
      await expect(pass.replace({ layer: 1, kind: 'v' }, other.source, {})).rejects.toMatchObject({
        code: 'invalid_argument',
      });
      await expect(pass.advance(3, {})).rejects.toMatchObject({ code: 'invalid_argument' });
    } finally {
      pass.close();
    }
  }, 60_000);
});

describe('statistics in groups of layers', () => {
  it('hold no more at a time than they may, and are the same', async () => {
    const model = writeTinyModel(folder);
    const { calibration, samples, context: length } = frontierRequest(model, '');
    const held: number[] = [];
    const { native } = pipeline();
    // A cache of its own for each: what is in one is not computed again.
    const recording = (cache: string) =>
      tinyContext(path.join(folder, cache), {
        async openLanguageModel(...open) {
          const opened = await native.openLanguageModel(...open);
          const calibrate: typeof opened.calibrate = (tokens, size, wanted, control) => {
            held.push(wanted.inputs.reduce((total, { secondMoment }) => total + secondMoment.bytes, 0));
            return opened.calibrate(tokens, size, wanted, control);
          };
          return { ...opened, calibrate, close: () => opened.close() };
        },
      });
    const text = { calibration: calibration!, samples: samples!, context: length! };
    const wanted = (name: string, memory: number) => ({ model, ...text, out: path.join(folder, name), memory });
    // Attention, output, mlp and down of 64, 64, 64 and 128 features in each of two layers.
    const layer = 4 * (3 * 64 ** 2 + 128 ** 2);
    const whole = await calibrate(recording('cache of one'), wanted('whole.safetensors', 2 * layer));
    expect(held).toEqual([2 * layer]);
    held.length = 0;
    const grouped = await calibrate(recording('cache of both'), wanted('grouped.safetensors', 2 * layer - 1));
    expect(held).toEqual([layer, layer]);
    expect(readFileSync(grouped.out).equals(readFileSync(whole.out))).toBe(true);
    expect(grouped.losses).toEqual(whole.losses);
  });
});
