/** Embedding and head in the program: priced by what their errors do to predictions, stored, run and read back. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../extension/core/logical/open';
import { readPacked } from '../../extension/core/packed/reader';
import { compress } from '../../extension/core/pipeline';
import type { CompressReport } from '../../extension/core/reports';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { nodeFiles } from '../../extension/node/files';
import type { EngineClient } from '../../extension/protocol/client';
import { calibration, evaluation, sample, startEngine, workFolder } from './running';
import { frontierRequest, paperRequest, TINY_MATRICES, tinyContext, writeTinyModel } from './tiny';

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

/** Of which what is not compressed takes 2.9 MB. */
const SIZE = 5.4e6;
const HEAD = 'lm_head.weight';
const EMBEDDING = 'model.embed_tokens.weight';

async function sizeOf(checkpoint: string): Promise<number> {
  const { shards } = await openCheckpoint(nodeFiles, checkpoint);
  return shards.reduce((sum, { file }) => sum + statSync(file).size, 0);
}

describe('compress with embeddings', () => {
  const request = (out: string, changes: Partial<CompressRequest> = {}): CompressRequest => ({
    ...settings,
    model: sample,
    out: path.join(folder, out),
    budget: { kind: 'bytes', value: SIZE },
    calibration,
    samples: 8,
    evalText: evaluation,
    windows: 4,
    context: 256,
    include: ['*layers.[01].*'],
    secondPass: false,
    ...changes,
  });
  let report: CompressReport;
  beforeAll(async () => {
    report = await engine.request('compress', request('all', { embeddings: true }));
  }, 60_000);

  it('meets a size of the whole files to the byte, and is much better than with embeddings as they are', async () => {
    expect(report.bytes).toBeLessThanOrEqual(SIZE);
    expect(report.bytes).toBeGreaterThan(0.995 * SIZE);
    expect(await sizeOf(report.output)).toBe(report.bytes);
    expect(report.after.bytes).toBe(report.bytes);
    const blocks = await engine.request('compress', request('blocks'));
    expect(blocks.matrices).toHaveLength(14);
    expect(await sizeOf(blocks.output)).toBe(blocks.bytes);
    const added = (of: CompressReport): number => Math.log(of.after.perplexity! / of.before.perplexity!);
    expect(added(report)).toBeLessThan(0.25 * added(blocks));
  }, 60_000);

  it('encodes both with options of the method, which the runtime reads from the files', async () => {
    expect(report.matrices).toHaveLength(16);
    const packed = readPacked(await openCheckpoint(nodeFiles, report.output));
    for (const name of [HEAD, EMBEDDING])
      expect(packed.get(name)!.option).toEqual(report.matrices.find(row => row.name === name)!.option);
    const again = await engine.request('evaluate', {
      ...settings,
      model: report.output,
      text: evaluation,
      windows: 4,
      context: 256,
    });
    expect(again.perplexity / report.after.perplexity!).toBeCloseTo(1, 12);
    expect(report.coverage!.left.map(({ reason }) => reason)).not.toContain('embeddings');
  });

  it('prices their errors in the unit of the blocks: moving their bytes about gains nothing', async () => {
    // A plan that is forced away from the prices has a higher cost, and predictions that are further from the original's.
    const overrides = [{ match: EMBEDDING, maxBits: 3 }];
    const forced = await engine.request('compress', request('forced', { embeddings: true, overrides }));
    expect(forced.objective).toBeGreaterThan(1.1 * report.objective);
    expect(forced.after.kl!.mean).toBeGreaterThan(1.1 * report.after.kl!.mean);
  }, 60_000);

  it('says where they stay as they are', async () => {
    const other = request('ct', { embeddings: true, for: 'compressed-tensors' });
    await expect(engine.request('compress', other)).rejects.toMatchObject({ code: 'usage' });
  });
});

describe('the plan', () => {
  it.each([
    ['the frontier in layer order', frontierRequest],
    ['the paper’s method', paperRequest],
  ])('counts tied embeddings once: %s', async (_, requestOf) => {
    const context = tinyContext(path.join(folder, 'tiny cache'));
    const model = writeTinyModel(folder, true);
    const out = path.join(folder, `tied ${_}`);
    const asked = { ...requestOf(model, out), budget: { kind: 'effective-bits', value: 4 }, embeddings: true } as const;
    const report = await compress(context, asked);
    expect(report.matrices).toHaveLength(TINY_MATRICES + 1);
    expect(report.matrices.map(({ name }) => name)).toContain(EMBEDDING);
    expect(await sizeOf(out)).toBe(report.bytes);
    for (const { cost, errorStored } of report.matrices) {
      expect(cost).toBeGreaterThan(0);
      expect(errorStored).toBeGreaterThan(0);
      expect(errorStored).toBeLessThan(1);
    }
  });
});
