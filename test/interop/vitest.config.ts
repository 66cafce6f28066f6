import { defineConfig } from 'vitest/config';

/** Tests against other people's programs, two at once with a thread each; scripts/python-venv.mjs installs them. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/interop/**/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2 } },
    env: { OMP_NUM_THREADS: '1' },
  },
});
