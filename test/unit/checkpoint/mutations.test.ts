import { expect, it } from 'vitest';
import { CORPUS, openedPath } from '../../fuzz/corpus';
import { Random } from '../../fuzz/mutate';
import { damaged, outcome } from '../../fuzz/outcome';

it.each(Object.keys(CORPUS))('the undamaged checkpoint "%s" opens', async kind => {
  expect(await outcome(CORPUS[kind]!, openedPath(kind))).toMatch(/^opened/);
});

it('damaged checkpoints open with remarks or fail with a code', async () => {
  const seen = new Set<string>();
  for (let i = 0; i < 1500; i++) {
    const { path, folder } = damaged(new Random(i));
    seen.add(await outcome(folder, path));
  }
  // The damage reaches far enough in to matter: all kinds of refusals are among the outcomes.
  expect(seen.size).toBeGreaterThan(10);
});
