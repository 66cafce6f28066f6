import { defineConfig } from 'vitest/config';

/** Panels in plain Chromium: apart from the unit tests, since a browser at work would disturb their timings. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/webview/**/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 10_000 } },
    pool: 'forks',
    poolOptions: { forks: { maxForks: 2 } },
  },
});
