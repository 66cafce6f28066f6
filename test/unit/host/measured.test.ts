import { describe, expect, it } from 'vitest';
import { methodOptions } from '../../../extension/core/options/methods/registry';
import type { SweepRecipe } from '../../../extension/core/options/recipe';
import type { SweepTable } from '../../../extension/core/sensitivity/types';
import { isOfTable, planPrediction } from '../../../extension/host/model/measured';
import type { Compression } from '../../../extension/host/model/related';

const recipe = (method: string, kind: 'plain' | 'kfac'): SweepRecipe =>
  ({ method, metric: kind === 'plain' ? { kind } : { kind, statistics: '01', damping: 0.01 } }) as SweepRecipe;

const compression = (
  params: Partial<Compression['job']['params']>,
  of: { method?: string; kind?: 'plain' | 'kfac'; objective?: number; before?: number; after?: number } = {},
): Compression =>
  ({
    output: '/out/tiny-lq',
    job: { params: { model: '/models/tiny', ...params } },
    report: {
      recipe: recipe(of.method ?? 'frontier', of.kind ?? 'kfac'),
      objective: of.objective ?? 1,
      before: { bytes: 9, perplexity: of.before },
      after: { bytes: 3, perplexity: of.after },
    },
  }) as unknown as Compression;

const table = (method: 'frontier' | 'lq-lora', ranks?: number[]): SweepTable =>
  ({
    recipe: recipe(method, 'kfac'),
    options: methodOptions(method, ranks ? { ranks } : {}),
  }) as unknown as SweepTable;

describe('a compression and a table of costs', () => {
  it('belong together when the options and what errors are weighed with are the same', () => {
    expect(isOfTable(compression({}), table('frontier'), '/t.json')).toBe(true);
    expect(isOfTable(compression({ tailBiting: true }), table('frontier'), '/t.json')).toBe(false);
    expect(isOfTable(compression({}, { kind: 'plain' }), table('frontier'), '/t.json')).toBe(false);
    const paper = compression({ method: 'lq-lora', ranks: [8] }, { method: 'lq-lora' });
    expect(isOfTable(paper, table('lq-lora', [8]), '/t.json')).toBe(true);
    expect(isOfTable(paper, table('lq-lora', [8, 16]), '/t.json')).toBe(false);
  });

  it('belong together when the one wrote the other, whatever format its options are of', () => {
    const gguf = compression({ for: 'gguf', sweepOut: '/t.json' });
    expect(isOfTable(gguf, table('frontier'), '/t.json')).toBe(true);
    expect(isOfTable(gguf, table('frontier'), '/other.json')).toBe(false);
  });
});

describe('predicting', () => {
  const text = { evalText: '/eval.txt', calibration: '/calib.txt' };

  it('starts from compressions that were evaluated and encoded as the newest was', () => {
    const newest = compression(text, { objective: 2, before: 20, after: 25 });
    const alike = compression(text, { objective: 1, before: 20, after: 22 });
    const others = [
      compression({ ...text, secondPass: false }, { objective: 3, before: 20, after: 29 }),
      compression({ ...text, evalText: '/other.txt' }, { objective: 3, before: 30, after: 39 }),
      compression({ ...text, context: 128 }, { objective: 3, before: 24, after: 39 }),
      compression({ calibration: '/calib.txt' }),
    ];
    const found = planPrediction([newest, ...others, alike])!;
    expect(found.dense).toBe(20);
    expect(found.plans.map(({ objective, perplexity }) => [objective, perplexity])).toEqual([
      [2, 25],
      [1, 22],
    ]);
  });

  it('is not done without a plan that is worse than the original', () => {
    expect(planPrediction([])).toBeUndefined();
    expect(planPrediction([compression({})])).toBeUndefined();
    expect(planPrediction([compression(text, { before: 20, after: 19.9 })])).toBeUndefined();
  });
});
