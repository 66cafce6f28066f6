// Runs a benchmark of test/bench: node scripts/bench.mjs NAME [arguments]. It validates its results before it times them,
// prints a table, and exits with a status other than 0 when something is not right.
import { existsSync } from 'node:fs';
import { inRoot } from './lib.mjs';
import { runTypeScript } from './run-typescript.mjs';

const [name = '', ...rest] = process.argv.slice(2);
const entry = inRoot('test', 'bench', `${name}.ts`);
if (!existsSync(entry)) {
  console.error(`There is no benchmark ${entry}.`);
  process.exit(2);
}
await runTypeScript(entry, inRoot('build', 'bench', `${name}.mjs`), rest);
