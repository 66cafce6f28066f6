// Builds the addon and its conformance suite into build/native, then copies what runs into dist/native.
//   --portable     as packaged: for any Linux with glibc 2.28, with the C++ runtime linked in, into build/portable
//   --sanitize     the conformance suite alone, under AddressSanitizer and UBSan, into build/sanitized
//   --conformance  the conformance suite alone, for which node_modules need not be there
//   --build-only   leaves dist as it is
//   --jobs 1       compilers at once instead of two
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { deps, inRoot, option, run, step } from './lib.mjs';
import { unpackWheels } from './python.mjs';
import { zig } from './zig.mjs';

const portable = process.argv.includes('--portable');
const sanitized = process.argv.includes('--sanitize');
const conformance = process.argv.includes('--conformance');
const copies = !sanitized && !conformance && !process.argv.includes('--build-only');

const openblasWheel = path.join(deps, 'openblas');
unpackWheels(openblasWheel, ['scipy-openblas32==0.3.34.481.3']);
const openblas = path.join(openblasWheel, 'scipy_openblas32');

const portableToolchain = () => [
  `-DCMAKE_TOOLCHAIN_FILE=${inRoot('native', 'cmake', 'zig-glibc-2.28.cmake')}`,
  `-DZIG=${zig()}`,
  '-DLQ_CONFORMANCE=OFF',
];

const out = inRoot('build', portable ? 'portable' : sanitized ? 'sanitized' : 'native');
step('Configuring the native module');
run('cmake', [
  ...['-S', inRoot('native'), '-B', out],
  '-DCMAKE_BUILD_TYPE=Release',
  `-DOPENBLAS_ROOT=${openblas}`,
  `-DNODE_API_INCLUDE=${inRoot('node_modules/node-api-headers/include')}`,
  `-DNODE_ADDON_API_INCLUDE=${inRoot('node_modules/node-addon-api')}`,
  ...(portable ? portableToolchain() : []),
  ...(sanitized ? ['-DLQ_SANITIZE=ON', '-DLQ_ADDON=OFF'] : []),
]);
step('Building the native module');
const target = conformance ? ['--target', 'lq_conformance'] : [];
run('cmake', ['--build', out, ...target, '--parallel', option('--jobs', '2')]);

if (copies) {
  const dist = inRoot('dist', 'native');
  mkdirSync(dist, { recursive: true });
  cpSync(path.join(out, 'src', 'lqstudio.node'), path.join(dist, 'lqstudio.node'));
  cpSync(path.join(openblas, 'lib', 'libscipy_openblas.so'), path.join(dist, 'libscipy_openblas.so'));
}
if (!sanitized && !portable) {
  // Where language servers look for it.
  const database = inRoot('compile_commands.json');
  rmSync(database, { force: true });
  symlinkSync(path.join('build', 'native', 'compile_commands.json'), database);
}
