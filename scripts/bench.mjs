// Runs a benchmark of test/bench: node scripts/bench.mjs NAME [arguments]. It validates its results before it times them,
// prints a table, and exits with a status other than 0 when something is not right.
import { existsSync } from 'node:fs';
import * as esbuild from 'esbuild';
import { inRoot, run } from './lib.mjs';

const [name = '', ...rest] = process.argv.slice(2);
const entry = inRoot('test', 'bench', `${name}.ts`);
if (!existsSync(entry)) {
  console.error(`There is no benchmark ${entry}.`);
  process.exit(2);
}
const outfile = inRoot('build', 'bench', `${name}.mjs`);
await esbuild.build({
  entryPoints: [entry],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  packages: 'external',
  logLevel: 'warning',
});
run(process.execPath, [outfile, ...rest]);
