// The licences of what the package carries: npm packages bundled into dist, OpenBLAS beside the addon, LLVM's C++ runtime in
// it, the CUDA runtime and GCC's C++ runtime in the CUDA backend.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { deps, inRoot } from '../lib.mjs';

const licenceFile = /^(licen[cs]e|copying|notice)/i;

/** Names of the production dependencies and theirs, as the lock file resolved them. */
function productionPackages() {
  const lock = JSON.parse(readFileSync(inRoot('package-lock.json'), 'utf8'));
  return Object.entries(lock.packages).filter(([folder, entry]) => folder !== '' && !entry.dev && !entry.optional);
}

function npmNotice([folder, { version, license }]) {
  const directory = inRoot(folder);
  const texts = readdirSync(directory)
    .filter(file => licenceFile.test(file))
    .map(file => readFileSync(path.join(directory, file), 'utf8').trim());
  const name = folder.replace(/^.*node_modules\//, '');
  return section(`${name} ${version} (${license})`, texts.join('\n\n') || `Licensed under ${license}.`);
}

/** The wheel's metadata quotes the licences of OpenBLAS, LAPACK and the Fortran runtime inside it. */
function openblasNotice() {
  const wheel = path.join(deps, 'openblas');
  const info = readdirSync(wheel).find(name => name.endsWith('.dist-info'));
  const metadata = readFileSync(path.join(wheel, info, 'METADATA'), 'utf8');
  const text = metadata.slice(metadata.indexOf('License:'), metadata.search(/^Project-URL:/m));
  return section(info.replace('.dist-info', ''), text.replace(/^ {8}/gm, '').trim());
}

function cxxRuntimeNotice() {
  const licence = path.join(deps, 'zig', 'ziglang', 'lib', 'libcxx', 'LICENSE.TXT');
  if (!existsSync(licence)) throw new Error(`${licence} is missing: build the portable module first`);
  return section('libc++, libc++abi and libunwind (LLVM)', readFileSync(licence, 'utf8').trim());
}

/** The static runtime may be distributed with a program that links it, under NVIDIA's terms. */
function cudaNotice() {
  const wheels = path.join(deps, 'cuda');
  const info = readdirSync(wheels).find(name => /^nvidia_cuda_runtime-.*\.dist-info$/.test(name));
  const licence = readFileSync(path.join(wheels, info, 'licenses', 'License.txt'), 'utf8').trim();
  return section(`${info.replace('.dist-info', '')} (static library in liblq_cuda.so)`, licence);
}

const gccRuntimeNotice = () =>
  section(
    'libstdc++ (static library in liblq_cuda.so)',
    'Copyright Free Software Foundation, Inc. Licensed under the GNU General Public License, version 3, with the GCC\n' +
      'Runtime Library Exception, version 3.1: https://www.gnu.org/licenses/gcc-exception-3.1.html',
  );

const section = (title, text) => `${'='.repeat(80)}\n${title}\n${'='.repeat(80)}\n\n${text}\n`;

/**
 * @param {{ cuda: boolean }} contents whether the package holds the CUDA backend
 * @returns {string} the text of THIRD_PARTY_NOTICES
 */
export function thirdPartyNotices({ cuda }) {
  return [
    'LQ Studio includes the following software of others.\n',
    openblasNotice(),
    cxxRuntimeNotice(),
    ...(cuda ? [cudaNotice(), gccRuntimeNotice()] : []),
    ...productionPackages().map(npmNotice),
  ].join('\n');
}
