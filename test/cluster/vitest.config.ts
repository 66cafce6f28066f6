import { defineConfig } from 'vitest/config';

/** Tests on a scheduler of their own; scripts/setup.mjs installs Debian's Slurm. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/cluster/**/*.test.ts'],
    testTimeout: 900_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});
