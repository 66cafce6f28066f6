import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CompressRequest } from '../../../extension/core/requests/requests';
import type { Model } from '../../../extension/host/model/models';
import { sweepFile } from '../../../extension/host/sweeps';

let storage: string;
beforeAll(() => {
  storage = mkdtempSync(path.join(os.tmpdir(), 'lq-sweeps-'));
});
afterAll(() => rmSync(storage, { recursive: true, force: true }));

const request: Partial<CompressRequest> = {
  model: '/models/tiny',
  budget: { kind: 'bytes', value: 3e6 },
  calibration: '/calib.txt',
};
const fileOf = (change: Partial<CompressRequest>, version = '1') =>
  sweepFile({ storage }, { version } as Model, { ...request, ...change });

describe('the table of costs of a request', () => {
  it('is one for requests that differ in the plan or in where results go', async () => {
    const file = await fileOf({});
    const alike: Partial<CompressRequest>[] = [
      { budget: { kind: 'effective-bits', value: 2.5 } },
      { out: '/elsewhere', overwrite: true, threads: 2 },
      { evalText: '/eval.txt', windows: 4, secondPass: false },
      { overrides: [{ match: '*.v_proj.weight', minBits: 4 }] },
    ];
    for (const change of alike) expect(await fileOf(change), JSON.stringify(change)).toBe(file);
    const ordered = await sweepFile({ storage }, { version: '1' } as Model, { calibration: '/calib.txt', ...request });
    expect(ordered).toBe(file);
  });

  it('is another for anything else', async () => {
    const others: Partial<CompressRequest>[] = [
      { calibration: '/other.txt' },
      { embeddings: true },
      { for: 'gguf' },
      { method: 'gptq' },
      { ranks: [8] },
      { include: ['*.q_proj.weight'] },
      { device: 'cuda:0' },
      // The paper's bits leave factors out, and with them the options without any.
      { budget: { kind: 'bits', value: 3 } },
    ];
    const files = [await fileOf({}), await fileOf({}, '2')];
    for (const change of others) files.push(await fileOf(change));
    expect(new Set(files).size).toBe(files.length);
  });
});
