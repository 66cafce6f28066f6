import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EngineClient } from '../../extension/protocol/client';
import type { CompressReport } from '../../extension/core/reports';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { Progress } from '../../extension/core/progress';
import { calibration, evaluation, sample, smallGrid, startEngine, workFolder } from './running';

const { folder, clean } = workFolder();
const settings = { device: 'cpu', cache: path.join(folder, 'cache') };
let engine: EngineClient;
beforeAll(() => {
  engine = startEngine();
});
afterAll(() => {
  engine.dispose();
  clean();
});

/** Content of all files of a folder, by name. */
const contents = (of: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(of).map(name => [
      name,
      createHash('sha256')
        .update(readFileSync(path.join(of, name)))
        .digest('hex'),
    ]),
  );

const request = (out: string): CompressRequest => ({
  ...settings,
  model: sample,
  out: path.join(folder, out),
  budget: { kind: 'bits', value: 3 },
  method: 'lq-lora',
  ranks: [4],
  plain: true,
  iterations: 10,
  grid: smallGrid,
});

describe('estimate', () => {
  const wanted = (seed: number): CompressRequest => {
    const { plain: _plain, ...rest } = request('foreseen');
    return { ...rest, calibration, samples: 4, evalText: evaluation, windows: 4, seed };
  };
  const total = async (of: CompressRequest): Promise<Record<string, number>> =>
    (await engine.request('estimate', of)).seconds;

  it('charges nothing for what is in the cache, and only for the rest of what is there in part', async () => {
    const before = await total(wanted(1));
    for (const stage of ['baseline', 'fisher', 'sweep', 'decompose', 'evaluate'])
      expect(before[stage]).toBeGreaterThan(0);
    const report = await engine.request('compress', wanted(1));
    const known = await total({ ...wanted(1), budget: { kind: 'bits', value: 2.75 } });
    expect(known).toMatchObject({ baseline: 0, fisher: 0, sweep: 0 });
    expect(known['evaluate']).toBeGreaterThan(0);
    // The factors are counted: the size is within what the last option leaves unspent.
    const { outputBytes, amounts } = await engine.request('estimate', wanted(1));
    expect(Math.abs(outputBytes / report.after.bytes - 1)).toBeLessThan(0.05);
    expect(amounts.bits).toBeCloseTo(3, 6);
    expect(Math.abs(amounts['effective-bits'] / report.effectiveBits - 1)).toBeLessThan(0.05);
    // Another seed has costs of its own, and the same statistics.
    const seeded = await total(wanted(2));
    expect(seeded).toMatchObject({ baseline: 0, fisher: 0 });
    expect(seeded['sweep']).toBeGreaterThan(0);
    // One more configuration is charged alone.
    const more = await total({ ...wanted(1), grid: [...smallGrid, { b0: 4, b1: 2, b2: 'fp32', B0: 16, B1: 16 }] });
    expect(more['sweep']! / seeded['sweep']!).toBeCloseTo(1 / smallGrid.length, 3);
  }, 60_000);
});

describe('compress', () => {
  let report: CompressReport;
  beforeAll(async () => {
    const full: CompressRequest = { ...request('fisher'), calibration, samples: 4, evalText: evaluation, windows: 8 };
    delete full.plain;
    report = await engine.request('compress', full);
  }, 60_000);

  it('stays within the budget and reports what it stored', () => {
    expect(report.bits).toBeLessThanOrEqual(3);
    expect(report.bits).toBeGreaterThan(2.9);
    expect(report.effectiveBits).toBeGreaterThan(report.bits);
    expect(report.matrices).toHaveLength(28);
    expect(report.after.bytes).toBe(report.bytes);
    for (const matrix of report.matrices) {
      expect(matrix.errorLq).toBeLessThan(matrix.errorQuantized!);
      expect(matrix.errorStored).toBeCloseTo(matrix.errorLq, 2);
    }
  });

  it('writes a checkpoint whose own evaluation is the reported one', async () => {
    const again = await engine.request('evaluate', { ...settings, model: report.output, text: evaluation, windows: 8 });
    // One model alone and two side by side add the same losses in another order.
    expect(again.perplexity / report.after.perplexity!).toBeCloseTo(1, 12);
    expect(report.after.kl!.mean).toBeGreaterThan(0);
    expect(report.after.kl!.p99).toBeGreaterThan(report.after.kl!.mean);
    expect(report.after.sameTop).toBeGreaterThan(0.5);
    expect(report.after.perplexity).toBeGreaterThan(report.before.perplexity!);
    expect(report.after.perplexity).toBeLessThan(1.5 * report.before.perplexity!);
  });

  it('exports dense weights that evaluate alike, up to rounding to bf16', async () => {
    const out = path.join(folder, 'dense');
    await engine.request('export', { ...settings, model: report.output, format: 'dense', out });
    const dense = await engine.request('evaluate', { ...settings, model: out, text: evaluation, windows: 8 });
    expect(dense.perplexity / report.after.perplexity!).toBeCloseTo(1, 2);
    const { tensors } = await engine.request('compare', { ...settings, a: out, b: report.output });
    expect(tensors).toHaveLength(39);
    for (const tensor of tensors) expect(tensor.relativeError).toBeLessThan(3e-3);
  });

  it('does better with a larger budget, and refuses one that cannot be met', async () => {
    const larger = await engine.request('compress', { ...request('larger'), budget: { kind: 'bytes', value: 4e6 } });
    expect(larger.bytes).toBeLessThanOrEqual(4e6);
    const smaller = await engine.request('compress', {
      ...request('smaller'),
      budget: { kind: 'bytes', value: 3.5e6 },
    });
    expect(larger.objective).toBeLessThan(smaller.objective);
    const impossible = { ...request('impossible'), budget: { kind: 'effective-bits' as const, value: 1.5 } };
    await expect(engine.request('compress', impossible)).rejects.toMatchObject({
      code: 'budget-infeasible',
      // NF2 in blocks of 64, without factors.
      details: { minimum: expect.closeTo(2 + 4 / 64 + 16 / (64 * 64), 2) as number },
    });
    expect(existsSync(path.join(folder, 'impossible'))).toBe(false);
  });
});

describe('a run that ends early', () => {
  it('is resumed after the engine was killed, with the result of an undisturbed run', async () => {
    const undisturbed = await engine.request('compress', {
      ...request('undisturbed'),
      cache: path.join(folder, 'one'),
    });
    const cache = path.join(folder, 'two');
    const victim = startEngine();
    let swept = 0;
    const killed = victim.request(
      'compress',
      { ...request('killed'), cache },
      {
        onProgress: progress => {
          if (progress.stage === 'sweep' && progress.partial !== undefined && ++swept === 5)
            process.kill(victim.pid as number, 'SIGKILL');
        },
      },
    );
    await expect(killed).rejects.toMatchObject({ code: 'engine-died' });
    const kept = readdirSync(path.join(cache, 'sweep')).filter(name => name.endsWith('.json')).length;
    expect(kept).toBeGreaterThanOrEqual(5);
    const resumed = await victim.request('compress', { ...request('killed'), cache });
    victim.dispose();
    expect(contents(resumed.output)).toEqual(contents(undisturbed.output));
  });

  it('is cancelled within a second while it sweeps, and leaves no output', async () => {
    const abort = new AbortController();
    let asked = 0;
    const run = engine.request(
      'compress',
      {
        ...request('cancelled'),
        ranks: [8],
        iterations: 100,
        grid: undefined as never,
        cache: path.join(folder, 'three'),
      },
      {
        signal: abort.signal,
        onProgress: (progress: Progress) => {
          if (asked > 0 || progress.stage !== 'sweep') return;
          asked = performance.now();
          abort.abort();
        },
      },
    );
    await expect(run).rejects.toMatchObject({ code: 'cancelled' });
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(existsSync(path.join(folder, 'cancelled'))).toBe(false);
  });

  it('continues a decomposition that was cancelled half-way', async () => {
    const abort = new AbortController();
    const run = engine.request('compress', request('halfway'), {
      signal: abort.signal,
      onProgress: ({ stage, done, total }) => {
        if (stage === 'decompose' && done > total / 2) abort.abort();
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'cancelled' });
    const partial = path.join(folder, 'halfway.partial');
    expect(existsSync(partial)).toBe(true);
    const report = await engine.request('compress', request('halfway'));
    expect(existsSync(partial)).toBe(false);
    expect(contents(report.output)).toEqual(contents(path.join(folder, 'undisturbed')));
  });
});

describe('estimate', () => {
  it.each([0, 4, 16, 64])('knows the size of the output at rank %i, factors included', async rank => {
    const wanted: CompressRequest = { ...request(`rank-${rank}`), ranks: [rank], iterations: 1 };
    const { outputBytes, problems } = await engine.request('estimate', wanted);
    const report = await engine.request('compress', wanted);
    expect(problems).toEqual([]);
    expect(Math.abs(outputBytes / report.after.bytes - 1)).toBeLessThan(0.05);
  });

  it('finds what would make a compression fail, and names the field that has to change', async () => {
    const short = path.join(folder, 'short.txt');
    writeFileSync(short, 'Once upon a time there was a text of few words.');
    const empty = path.join(folder, 'empty.txt');
    writeFileSync(empty, '');
    const there = path.join(folder, 'there');
    mkdirSync(there);
    writeFileSync(path.join(there, 'model.safetensors'), '');
    const { plain: _plain, ...weighted } = request('estimated');
    const problemsOf = async (change: Partial<CompressRequest>, base: CompressRequest = request('estimated')) =>
      (await engine.request('estimate', { ...base, ...change })).problems;
    expect(await problemsOf({})).toEqual([]);
    expect(await problemsOf({ calibration: short, samples: 64 }, weighted)).toMatchObject([
      { field: 'calibration', code: 'text-too-short' },
    ]);
    expect(await problemsOf({ calibration: path.join(folder, 'none.txt') }, weighted)).toMatchObject([
      { field: 'calibration', code: 'file-not-found' },
    ]);
    expect(await problemsOf({ evalText: empty })).toMatchObject([{ field: 'evalText', code: 'text-too-short' }]);
    expect(await problemsOf({ ranks: [4096] })).toMatchObject([{ field: 'ranks' }]);
    expect(await problemsOf({ budget: { kind: 'bits', value: 1 } })).toMatchObject([
      { field: 'budget', code: 'budget-infeasible' },
    ]);
    expect(await problemsOf({ fisher: path.join(sample, 'model-00001-of-00002.safetensors') }, weighted)).toMatchObject(
      [{ field: 'fisher', code: 'fisher-mismatch' }],
    );
    expect(await problemsOf({ out: there })).toEqual([
      { field: 'out', code: 'output-exists', message: `${there} exists already.`, suggestion: `${there}-2` },
    ]);
    expect(await problemsOf({ out: there, overwrite: true })).toEqual([]);
  });

  it('knows the size beforehand and learns the pace from earlier runs', async () => {
    const wanted = { ...request('estimated'), evalText: evaluation, windows: 4 };
    const estimate = await engine.request('estimate', wanted);
    const report = await engine.request('compress', wanted);
    expect(estimate.outputBytes / report.bytes).toBeCloseTo(1, 1);
    expect(estimate.matrices).toBe(28);
    expect(estimate.feasible.minimum).toBeLessThan(2.4);
  });
});
