// Creates .deps/venv with the heavy Python peers of test/interop and prints its interpreter.
import path from 'node:path';
import { deps, inRoot } from './lib.mjs';
import { environmentFor } from './python.mjs';

console.log(environmentFor(path.join(deps, 'venv'), inRoot('test', 'interop', 'requirements.txt')));
