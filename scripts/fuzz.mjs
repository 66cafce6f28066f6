// Opens damaged checkpoints: node scripts/fuzz.mjs [--count N] [--seed S] [--kind WORD]. See test/fuzz/main.ts.
import { inRoot } from './lib.mjs';
import { runTypeScript } from './run-typescript.mjs';

await runTypeScript(inRoot('test', 'fuzz', 'main.ts'), inRoot('build', 'fuzz', 'main.mjs'), process.argv.slice(2));
