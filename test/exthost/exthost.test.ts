/** Every test that ran inside the extension host, one by one, as it ended there. */
import { describe, it } from 'vitest';
import { runSuiteInHost } from './inside';

const tests = await runSuiteInHost();

describe('in the extension host', () => {
  it('runs tests at all', ({ expect }) => expect(tests.length).toBeGreaterThan(0));
  for (const { title, error } of tests) {
    it(title, () => {
      if (error !== undefined) throw new Error(error);
    });
  }
});
