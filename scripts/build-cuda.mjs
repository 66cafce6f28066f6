// Builds the CUDA backend, liblq_cuda.so, into build/cuda and dist/native. No GPU and no CUDA installation are needed: the
// compiler comes from PyPI.
//   --arch 90   machine code for one compute capability (and its PTX) instead of all
//   --jobs 1    compilers at once instead of two
//   --portable  as packaged: for any Linux with glibc 2.28, compressed, without line tables, into build/cuda-portable
import { cpSync, mkdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { deps, inRoot, option, run, step } from './lib.mjs';
import { unpackWheels } from './python.mjs';
import { zig } from './zig.mjs';

/** One release of every part: nvcc refuses, or worse accepts, an nvvm of another. */
const toolkit = [
  'nvidia-cuda-nvcc==13.0.88',
  'nvidia-nvvm==13.0.88',
  'nvidia-cuda-crt==13.0.88',
  'nvidia-cuda-runtime==13.0.96',
  'nvidia-cuda-cccl==13.0.85',
];

const folder = path.join(deps, 'cuda');
unpackWheels(folder, toolkit);

const architectures = option('--arch', '80;90;100;120');
const portable = process.argv.includes('--portable');
const out = inRoot('build', portable ? 'cuda-portable' : 'cuda');
step(`Building the CUDA backend for compute capability ${architectures.replaceAll(';', ', ')}`);
run('cmake', [
  ...['-S', inRoot('native', 'cuda'), '-B', out],
  '-DCMAKE_BUILD_TYPE=Release',
  `-DLQ_CUDA_TOOLKIT=${path.join(folder, 'nvidia', 'cu13')}`,
  `-DLQ_CUDA_ARCHITECTURES=${architectures}`,
  `-DLQ_PORTABLE_ZIG=${portable ? zig() : ''}`,
]);
run('cmake', ['--build', out, '--parallel', option('--jobs', '2')]);
mkdirSync(inRoot('dist', 'native'), { recursive: true });
// Renamed, since an engine may be loading the one before.
const installed = inRoot('dist', 'native', 'liblq_cuda.so');
cpSync(path.join(out, 'liblq_cuda.so'), `${installed}.new`);
renameSync(`${installed}.new`, installed);
