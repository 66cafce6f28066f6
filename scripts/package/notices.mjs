// The licences of what the package carries: npm packages bundled into dist, OpenBLAS beside the addon, LLVM's C++ runtime in it.
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

const section = (title, text) => `${'='.repeat(80)}\n${title}\n${'='.repeat(80)}\n\n${text}\n`;

/** @returns {string} the text of THIRD_PARTY_NOTICES */
export function thirdPartyNotices() {
  return [
    'LQ Studio includes the following software of others.\n',
    openblasNotice(),
    cxxRuntimeNotice(),
    ...productionPackages().map(npmNotice),
  ].join('\n');
}
