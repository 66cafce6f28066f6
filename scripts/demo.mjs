// The main job, from a fresh clone: sets up, then compresses the sample checkpoint to 2.75 bits on the CPU with Fisher
// information of the sample calibration text, and shows the plan, the errors and the perplexity before and after.
import { inRoot, run, step } from './lib.mjs';

run(process.execPath, [inRoot('scripts/setup.mjs')]);
run(process.execPath, [inRoot('scripts/build-native.mjs')]);
run(process.execPath, [inRoot('scripts/build.mjs')]);

const sample = inRoot('media', 'sample');
const out = inRoot('.artifacts', 'demo', 'tiny-books-4m-2.75bit');
step('Compressing media/sample/tiny-books-4m to 2.75 bits per weight');
run(process.execPath, [
  inRoot('dist/cli.js'),
  'compress',
  inRoot('media/sample/tiny-books-4m'),
  ...['--out', out, '--overwrite'],
  ...['--method', 'lq-lora', '--bits', '2.75', '--rank', '8', '--device', 'cpu'],
  ...['--calibration', `${sample}/calibration.txt`, '--eval-text', `${sample}/evaluation.txt`],
  ...['--cache', inRoot('.artifacts', 'demo', 'cache')],
  ...process.argv.slice(2),
]);
