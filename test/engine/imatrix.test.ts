/** Importance matrices of llama.cpp: written from statistics, read as a metric. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { denseSource } from '../../extension/core/checkpoint/sources';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { compress } from '../../extension/core/pipeline';
import { methodOptions } from '../../extension/core/options/methods/registry';
import { nativeOption } from '../../extension/core/options/native-option';
import { DAMPING } from '../../extension/core/sensitivity/metric';
import { readDiagonals } from '../../extension/core/sensitivity/calibration-file';
import { calibrate } from '../../extension/core/stages/statistics';
import { sweep } from '../../extension/core/stages/sweep';
import { nodeFiles } from '../../extension/node/files';
import { workFolder } from './running';
import { frontierRequest, TINY_MATRICES, tinyContext, writeTinyModel } from './tiny';

const { folder, clean } = workFolder();
afterAll(clean);
const context = tinyContext(path.join(folder, 'cache'));
const file = (name: string): string => path.join(folder, name);
let model: string;
beforeAll(async () => {
  model = writeTinyModel(folder);
  const { calibration, samples, context: length } = frontierRequest(model, '');
  for (const name of ['imatrix.gguf', 'imatrix.dat'])
    await calibrate(context, {
      ...{ model, calibration: calibration!, samples: samples!, context: length! },
      ...{ out: file('stats.safetensors'), imatrix: file(name) },
    });
});

describe('an importance matrix', () => {
  it.each(['imatrix.gguf', 'imatrix.dat'])('weighs errors with the mean squares of inputs: %s', async name => {
    const table = await sweep(context, { model, fisher: file(name), method: 'rtn' });
    expect(table.recipe.metric.kind).toBe('kfac');
    expect(table.matrices).toHaveLength(TINY_MATRICES);
    const { diagonals } = await readDiagonals(context, file('stats.safetensors'));
    const [row] = table.matrices;
    const diagonal = diagonals.get(row!.name)!;
    // The same weights element by element, which other code adds up.
    const mean = diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length;
    const weights = Float32Array.from({ length: row!.rows * row!.cols }, (_, i) => {
      return diagonal[i % row!.cols]! + DAMPING * mean;
    });
    writeFileSync(file('weights'), weights);
    const index = await openCheckpoint(nodeFiles, model);
    const source = denseSource(logicalTensors(index).find(each => each.name === row!.name)!);
    const fisher = { ...source, path: file('weights'), offset: 0, dtype: 'F32' as const };
    const options = methodOptions('rtn', {}).map(option => nativeOption(option));
    const expected = await context.native.encodeCosts(
      'cpu',
      source,
      options,
      { metric: { kind: 'fisher', fisher }, seed: 0 },
      {},
    );
    for (const [i, cost] of row!.costs.entries()) expect(cost! / expected.costs[i]!).toBeCloseTo(1, 4);
  });

  it('serves a compression, which says what it does not know', async () => {
    const { calibration: _, ...request } = frontierRequest(model, file('out'));
    const report = await compress(context, { ...request, fisher: file('imatrix.gguf') });
    expect(report.recipe).toMatchObject({ method: 'frontier', metric: { kind: 'kfac' } });
    expect(report.warnings.join(' ')).toMatch(/importance matrix says nothing else/);
    expect(report.warnings.join(' ')).toMatch(/no second pass/);
  });

  it('of another model or damaged is refused by name', async () => {
    const damaged = readFileSync(file('imatrix.dat'));
    writeFileSync(file('short.dat'), damaged.subarray(0, damaged.length / 2));
    await expect(sweep(context, { model, fisher: file('short.dat'), method: 'rtn' })).rejects.toMatchObject({
      code: 'calibration-mismatch',
      file: file('short.dat'),
    });
    const other = Buffer.from(damaged);
    other.write('other', 8, 'latin1');
    writeFileSync(file('other.dat'), other);
    await expect(sweep(context, { model, fisher: file('other.dat'), method: 'rtn' })).rejects.toMatchObject({
      code: 'calibration-mismatch',
      tensor: 'model.layers.0.mlp.down_proj.weight',
    });
  });
});
