/** The frontier end to end: trellis codes chosen under K-FAC and encoded in layer order, in the built engine. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { optionKey, packedBytes } from '../../extension/core/options/option';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { CompressReport } from '../../extension/core/reports';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { SweepTable } from '../../extension/core/sensitivity/types';
import { nodeFiles } from '../../extension/node/files';
import type { EngineClient } from '../../extension/protocol/client';
import { calibration, evaluation, sample, startEngine, workFolder } from './running';

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

const request = (out: string, changes: Partial<CompressRequest> = {}): CompressRequest => ({
  ...settings,
  model: sample,
  out: path.join(folder, out),
  budget: { kind: 'effective-bits', value: 2.5 },
  calibration,
  samples: 8,
  evalText: evaluation,
  windows: 4,
  ...changes,
});

const contents = (of: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(of).map(name => [
      name,
      createHash('sha256')
        .update(readFileSync(path.join(of, name)))
        .digest('hex'),
    ]),
  );

describe('compress', () => {
  let second: CompressReport;
  beforeAll(async () => {
    second = await engine.request('compress', request('second', { sweepOut: path.join(folder, 'sweep.json') }));
  }, 170_000);

  it('takes the frontier by default: trellises of several rates, within the budget to the byte', async () => {
    expect(second.recipe).toMatchObject({ method: 'frontier', metric: { kind: 'kfac', damping: 0.01 } });
    expect(new Set(second.matrices.map(({ option }) => optionKey(option))).size).toBeGreaterThan(2);
    for (const { option } of second.matrices) expect(option.grid.kind).toBe('trellis');
    expect(second.effectiveBits).toBeLessThanOrEqual(2.5);
    expect(second.effectiveBits).toBeGreaterThan(2.49);

    const index = await openCheckpoint(nodeFiles, second.output);
    expect(index.shards.reduce((sum, { file }) => sum + statSync(file).size, 0)).toBe(second.bytes);
    const stored = logicalTensors(index).filter(({ format }) => format === 'lq');
    expect(stored).toHaveLength(28);
    const weights = stored.reduce((sum, { parameters }) => sum + parameters, 0);
    const bytes = stored.reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect((8 * bytes) / weights).toBe(second.effectiveBits);
    for (const { name, option } of second.matrices) {
      const { shape, bytes: own } = stored.find(tensor => tensor.name === name)!;
      expect(own).toBe(packedBytes(option, shape[0]!, shape[1]!, 'nf8'));
    }
    for (const shard of index.shards) expect(shard.bytes).toBe(statSync(shard.file).size);
  });

  it('measures the costs that the plan could use, and says how many', async () => {
    const { measured, predicted } = second.costs;
    expect(measured + predicted).toBe(28 * 10);
    expect(measured).toBeGreaterThanOrEqual(28);
    expect(measured).toBeLessThan(0.5 * 28 * 10);
    const table = JSON.parse(readFileSync(path.join(folder, 'sweep.json'), 'utf8')) as SweepTable;
    expect(table.matrices.reduce((sum, row) => sum + row.predicted.length, 0)).toBe(predicted);
    for (const { name, option, cost } of second.matrices) {
      const row = table.matrices.find(each => each.name === name)!;
      const at = table.options.findIndex(each => optionKey(each) === optionKey(option));
      expect(row.predicted).not.toContain(at);
      expect(row.costs[at]).toBe(cost);
    }
    const all = await engine.request(
      'compress',
      request('all', { costs: 'measured', secondPass: false, sweepOut: path.join(folder, 'all.json') }),
    );
    expect(all.costs).toEqual({ measured: 28 * 10, predicted: 0 });
    // The bound that predicted costs gave holds for all of them measured.
    expect(second.bound).toBeLessThanOrEqual(all.objective);
    expect(second.objective).toBeLessThanOrEqual(all.objective * (1 + second.gap));
  });

  it('is better with the second pass than without, and than the paper’s method at the same bytes', async () => {
    const first = await engine.request('compress', request('first', { secondPass: false }));
    expect(first.bytes).toBe(second.bytes);
    expect(second.after.perplexity).toBeLessThan(first.after.perplexity!);
    const grid = [2, 3, 4].map(b0 => ({ b0, b1: 4, b2: 'bf16' as const, B0: 64, B1: 256 }));
    const paper = await engine.request('compress', request('paper', { method: 'lq-lora', ranks: [0], grid }));
    expect(paper.effectiveBits).toBeGreaterThan(2.4);
    expect(first.after.perplexity).toBeLessThan(0.9 * paper.after.perplexity!);
  }, 170_000);

  it('is resumed in the middle of the second pass with the bytes of an undisturbed run', async () => {
    const abort = new AbortController();
    // Of its own cache: in another's the plan is carried out already, and its result would be copied.
    const halfway = request('halfway', { cache: path.join(folder, 'halfway-cache') });
    const run = engine.request('compress', halfway, {
      signal: abort.signal,
      onProgress: ({ stage, done, total }) => {
        if (stage === 'decompose' && done > total / 2) abort.abort();
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'cancelled' });
    expect(existsSync(path.join(folder, 'halfway.partial'))).toBe(true);
    const resumed = await engine.request('compress', halfway);
    expect(contents(resumed.output)).toEqual(contents(second.output));
  }, 170_000);

  it('finds measured costs again, and plans ranks by their bytes', async () => {
    const file = path.join(folder, 'all.json');
    const table = JSON.parse(readFileSync(file, 'utf8')) as SweepTable;
    expect(table).toMatchObject({ version: 2, device: 'cpu' });
    const statistics = readdirSync(path.join(folder, 'cache', 'calibration')).find(name => /safetensors$/.test(name))!;
    const again = { ...settings, model: sample, fisher: path.join(folder, 'cache', 'calibration', statistics) };
    const same = await engine.request('sweep', again);
    expect(same.matrices).toEqual(table.matrices);
    expect(same.seconds).toBeLessThan(5);
    // Statistics of the text itself, which are in the cache as well.
    const text = { calibration, samples: 8 };
    const ofText = await engine.request('sweep', { ...settings, model: sample, ...text });
    expect(ofText.recipe).toEqual(table.recipe);
    expect(ofText.matrices).toEqual(table.matrices);
    const plan = engine.request('plan', { sweep: file, budget: { kind: 'bits', value: 2.5 } });
    await expect(plan).resolves.toMatchObject({ matrices: expect.any(Array) as unknown[] });
  });

  it('predicts the perplexity of other budgets from one run', async () => {
    const measured = {
      dense: second.before.perplexity!,
      plans: [{ objective: second.objective, perplexity: second.after.perplexity! }],
    };
    const other = await engine.request('compress', request('other', { budget: { kind: 'effective-bits', value: 3 } }));
    const sweep = path.join(folder, 'sweep.json');
    const { predicted } = await engine.request('plan', { sweep, budget: other.budget, measured });
    // Few windows of few calibration samples: the band itself is tested on a whole evaluation.
    expect(Math.abs(predicted!.perplexity / other.after.perplexity! - 1)).toBeLessThan(0.08);
    expect(predicted!.low).toBeLessThan(predicted!.perplexity);
  }, 170_000);

  it('says so when there is no calibration text, and refuses methods that need one', async () => {
    const { calibration: _none, ...plain } = request('plain');
    const report = await engine.request('compress', plain);
    expect(report.recipe).toMatchObject({ method: 'frontier', metric: { kind: 'plain' } });
    expect(report.warnings.join(' ')).toMatch(/not weighed.*no second pass/);
    await expect(engine.request('compress', { ...plain, method: 'gptq' })).rejects.toMatchObject({ code: 'usage' });
    await expect(engine.request('compress', { ...plain, secondPass: true })).rejects.toMatchObject({ code: 'usage' });
  }, 170_000);
});
