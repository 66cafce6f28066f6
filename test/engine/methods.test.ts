/** Methods compared at equal exported bits: what each gives, what is left behind, and how far the whole is. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { compareMethods } from '../../extension/core/compare-methods';
import type { Progress } from '../../extension/core/progress';
import { workFolder } from './running';
import { frontierRequest, tinyContext, writeTinyModel } from './tiny';

const { folder, clean } = workFolder();
afterAll(clean);

it('lists the best first, what cannot meet the size last, and keeps no checkpoint', async () => {
  const model = writeTinyModel(folder);
  const { calibration, evalText, samples, context, windows } = frontierRequest(model, path.join(folder, 'out'));
  const progress: Progress[] = [];
  const cache = path.join(folder, 'cache');
  const report = await compareMethods(
    { ...tinyContext(cache), report: each => void progress.push(each) },
    {
      ...{
        model,
        calibration: calibration!,
        evalText: evalText!,
        samples: samples!,
        context: context!,
        windows: windows!,
      },
      effectiveBits: 2.6,
      methods: ['rtn', 'leanquant', 'frontier'],
    },
  );
  expect(report.rows.map(({ method }) => method).sort()).toEqual(['frontier', 'leanquant', 'rtn']);
  const found = report.rows.flatMap(({ perplexity }) => perplexity ?? []);
  expect(found.length).toBeGreaterThan(0);
  expect(found).toEqual([...found].sort((a, b) => a - b));
  for (const { effectiveBits, refused } of report.rows) {
    if (refused === undefined) expect(effectiveBits).toBeLessThanOrEqual(2.6);
    else expect(refused.code).toBe('budget-infeasible');
  }
  expect(readdirSync(path.join(cache, 'methods'))).toEqual([]);

  const shares = progress.flatMap(({ whole }) => whole?.share ?? []);
  expect(shares).toEqual([...shares].sort((a, b) => a - b));
  expect(shares.at(-1)).toBeLessThanOrEqual(1);
  // The last of three methods is at work.
  expect(shares.at(-1)).toBeGreaterThan(2 / 3);
  expect(progress.every(({ item }) => /^(Frontier|LeanQuant|RTN|Round)/i.test(item ?? ''))).toBe(true);
}, 60_000);
