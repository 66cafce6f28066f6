// The pictures of README and walkthrough, taken again: the end-to-end tests go through the packaged extension with the sample
// checkpoint and leave screenshots in both themes, of which these are the ones that are shown.
//   npm run pictures      after npm run package -- --no-cuda
import { copyFileSync, mkdirSync } from 'node:fs';
import { inRoot, run, step } from './lib.mjs';

const SHOWN = ['tree', 'compress-form', 'heatmap', 'allocation', 'perplexity'];

step('Taking pictures');
const vitest = inRoot('node_modules', 'vitest', 'vitest.mjs');
run(process.execPath, [vitest, 'run', '--config=test/e2e/vitest.config.ts', 'test/e2e/inspect', 'test/e2e/compress']);
mkdirSync(inRoot('media', 'screenshots'), { recursive: true });
for (const name of SHOWN)
  for (const theme of ['dark', 'light'])
    copyFileSync(
      inRoot('.artifacts', 'screenshots', `${name}-${theme}.png`),
      inRoot('media', 'screenshots', `${name}-${theme}.png`),
    );
