// Builds the addon, its conformance suite and (with --cuda, where nvcc is found) the CUDA backend into build/native,
// then copies what runs into dist/native.
import { cpSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { deps, inRoot, run, step } from './lib.mjs';
import { unpackWheels } from './python.mjs';

const wheel = path.join(deps, 'openblas');
unpackWheels(wheel, ['scipy-openblas32==0.3.34.481.3']);
const openblas = path.join(wheel, 'scipy_openblas32');

const out = inRoot('build', 'native');
step('Configuring the native module');
run('cmake', [
  '-S',
  inRoot('native'),
  '-B',
  out,
  '-DCMAKE_BUILD_TYPE=Release',
  `-DOPENBLAS_ROOT=${openblas}`,
  `-DNODE_API_INCLUDE=${inRoot('node_modules/node-api-headers/include')}`,
  `-DNODE_ADDON_API_INCLUDE=${inRoot('node_modules/node-addon-api')}`,
  `-DLQ_CUDA=${process.argv.includes('--cuda') ? 'ON' : 'OFF'}`,
]);
step('Building the native module');
run('cmake', ['--build', out, '--parallel', '2']);

const dist = inRoot('dist', 'native');
mkdirSync(dist, { recursive: true });
cpSync(path.join(out, 'src', 'lqstudio.node'), path.join(dist, 'lqstudio.node'));
cpSync(path.join(openblas, 'lib', 'libscipy_openblas.so'), path.join(dist, 'libscipy_openblas.so'));
