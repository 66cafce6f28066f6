/** Windows of a text over devices: the CPU twice stands for two, since what is added up is the same whatever computes it. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { PipelineContext } from '../../extension/core/context';
import { windowDivergence } from '../../extension/core/evaluation/divergence';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { windowLosses } from '../../extension/core/evaluation/perplexity';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { readWindows } from '../../extension/core/evaluation/windows';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { Progress } from '../../extension/core/progress';
import { calibrate, fisher } from '../../extension/core/stages/statistics';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';
import { context, newCache, temporary } from '../unit/export/harness';

const SAMPLE = path.resolve('media/sample/tiny-books-4m');
const CALIBRATION = path.resolve('media/sample/calibration.txt');
const LENGTH = 32;
const WINDOWS = 5;

const { folder, remove } = temporary();
afterAll(() => remove());

interface Run {
  readonly pipeline: PipelineContext;
  readonly reports: Progress[];
  /** Devices that models were opened on. */
  readonly opened: string[];
}

/** A run on so many devices, with a cache of its own. */
function runOn(devices: number, changes: Partial<PipelineContext> = {}): Run {
  newCache();
  const [reports, opened]: [Progress[], string[]] = [[], []];
  const native = loadNative(path.resolve('dist/native'));
  const pipeline: PipelineContext = {
    ...context(),
    devices: Array.from({ length: devices }, () => 'cpu'),
    report: progress => void reports.push(progress),
    native: {
      ...native,
      openLanguageModel: (device, ...rest) => {
        opened.push(device);
        return native.openLanguageModel(device, ...rest);
      },
    },
    ...changes,
  };
  return { pipeline, reports, opened };
}

async function subject() {
  const index = await openCheckpoint(nodeFiles, SAMPLE);
  const tokenizer = await TextTokenizer.load(runOn(1).pipeline, index.folder);
  const windows = await readWindows(nodeFiles, tokenizer, 2048, CALIBRATION, { context: LENGTH, windows: WINDOWS });
  return { model: describeModel(index), windows };
}

async function tensorsOf(file: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await openCheckpoint(nodeFiles, file);
  const bytes = readFileSync(file);
  return new Map(
    tensors.map(({ name, offset, bytes: size }) => [
      name,
      new Float32Array(Uint8Array.from(bytes.subarray(offset, offset + size)).buffer),
    ]),
  );
}

/** Largest difference of two files' tensors, relative to the largest value of each. */
async function distance(one: string, other: string): Promise<number> {
  const [a, b] = [await tensorsOf(one), await tensorsOf(other)];
  expect([...a.keys()]).toEqual([...b.keys()]);
  let worst = 0;
  for (const [name, values] of a) {
    const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    values.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - b.get(name)![i]!) / scale)));
  }
  return worst;
}

const request = { model: SAMPLE, calibration: CALIBRATION, samples: WINDOWS, context: LENGTH };

describe('windows of a text over two devices', () => {
  it('have the losses and the divergence of one, in their order', async () => {
    const { model, windows } = await subject();
    const [one, two] = [runOn(1), runOn(2)];
    const expected = await windowLosses(one.pipeline, model, windows);
    const losses = await windowLosses(two.pipeline, model, windows);
    expect(one.opened).toHaveLength(1);
    expect(two.opened).toHaveLength(2);
    expect(losses).toHaveLength(WINDOWS);
    losses.forEach((loss, i) => expect(loss / expected[i]!).toBeCloseTo(1, 6));
    expect(two.reports.at(-1)).toMatchObject({ stage: 'evaluate', done: WINDOWS, total: WINDOWS });
    const changed = { ...model, config: { ...model.config, logitScale: 0.7 } };
    const whole = await windowDivergence(one.pipeline, model, changed, windows);
    const parts = await windowDivergence(two.pipeline, model, changed, windows);
    expect(whole.kl.p99).toBeGreaterThan(whole.kl.mean);
    expect(parts.kl.mean / whole.kl.mean).toBeCloseTo(1, 5);
    expect(parts.kl.p99 / whole.kl.p99).toBeCloseTo(1, 5);
    expect(parts.sameTop).toBe(whole.sameTop);
    parts.otherLosses.forEach((loss, i) => expect(loss / whole.otherLosses[i]!).toBeCloseTo(1, 6));
  });

  it('add up to the Fisher information of all', async () => {
    const [whole, parts] = [path.join(folder, 'whole.safetensors'), path.join(folder, 'parts.safetensors')];
    const one = await fisher(runOn(1).pipeline, { ...request, out: whole });
    const run = runOn(2);
    const two = await fisher(run.pipeline, { ...request, out: parts });
    expect(run.opened).toHaveLength(2);
    two.losses.forEach((loss, i) => expect(loss / one.losses[i]!).toBeCloseTo(1, 6));
    expect(await distance(whole, parts)).toBeLessThan(1e-5);
    // What the devices had each is gone.
    const left = readdirSync(path.join(run.pipeline.cache, 'fisher')).filter(name => /partial|-p\d/.test(name));
    expect(left).toEqual([]);
  });

  it('add up to the statistics of all', async () => {
    const [whole, parts] = [path.join(folder, 'all.safetensors'), path.join(folder, 'added.safetensors')];
    const one = await calibrate(runOn(1).pipeline, { ...request, fisher: true, out: whole });
    const run = runOn(2);
    const two = await calibrate(run.pipeline, { ...request, fisher: true, out: parts });
    expect(run.opened).toHaveLength(2);
    expect(two).toMatchObject({ samples: WINDOWS, tokens: WINDOWS * LENGTH });
    two.losses.forEach((loss, i) => expect(loss / one.losses[i]!).toBeCloseTo(1, 6));
    expect(await distance(whole, parts)).toBeLessThan(1e-5);
  });

  it('leave nothing behind where one device fails, and say why', async () => {
    const run = runOn(2);
    let calls = 0;
    const open = run.pipeline.native.openLanguageModel;
    const broken: PipelineContext = {
      ...run.pipeline,
      native: {
        ...run.pipeline.native,
        openLanguageModel: (...given) =>
          ++calls === 2
            ? Promise.reject(Object.assign(new Error('the device is gone'), { code: 'device_error' }))
            : open(...given),
      },
    };
    const out = path.join(folder, 'failed.safetensors');
    await expect(fisher(broken, { ...request, out })).rejects.toMatchObject({
      code: 'device-unavailable',
      message: 'the device is gone',
    });
    expect(existsSync(out)).toBe(false);
    const left = readdirSync(path.join(run.pipeline.cache, 'fisher'));
    expect(left.filter(name => name.endsWith('.safetensors') || /partial|-p\d/.test(name))).toEqual([]);
  });
});
