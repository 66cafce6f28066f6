// What must be true of the package before anybody installs it. Reads the finished .vsix, not the folders it was made from.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { capture } from '../lib.mjs';
import { cudaProblems } from './cuda.mjs';

const MEBIBYTE = 1024 * 1024;
export const MAXIMUM_BYTES = 15 * MEBIBYTE;
/** VS Code's own floor on Linux. */
const NEWEST_GLIBC = [2, 28];

/** Part of every glibc installation. */
const SYSTEM_LIBRARIES = /^(libc|libm|libpthread|libdl|librt|ld-linux-x86-64)\.so\.\d$/;

const CUDA_BACKEND = 'dist/native/liblq_cuda.so';
const EXPECTED = [
  'package.json',
  'readme.md',
  'LICENSE.txt',
  'changelog.md',
  'dist/THIRD_PARTY_NOTICES.txt',
  'dist/extension.js',
  'dist/engine.js',
  'dist/cli.js',
  'dist/native/lqstudio.node',
  'dist/native/libscipy_openblas.so',
];
const ALLOWED = [
  ...EXPECTED,
  /^dist\/webview\/[\w.-]+\.(js|css|ttf|txt)$/,
  /^dist\/\w+\.js\.LEGAL\.txt$/,
  CUDA_BACKEND,
  /^media\/[\w./-]+\.(svg|png|md|css)$/,
];

const isAllowed = file => ALLOWED.some(rule => (typeof rule === 'string' ? rule === file : rule.test(file)));
const isElf = file => readFileSync(file).subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'));
const isNewer = ([major, minor]) => major > NEWEST_GLIBC[0] || (major === NEWEST_GLIBC[0] && minor > NEWEST_GLIBC[1]);

/** Problems of one ELF file: libraries it needs from outside, symbols newer than the floor. */
function elfProblems(file, name, carried) {
  const dynamic = capture('readelf', ['-dW', file]).stdout;
  const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(match => match[1]);
  const foreign = needed.filter(library => !SYSTEM_LIBRARIES.test(library) && !carried.has(library));
  const versions = capture('readelf', ['-VW', file]).stdout;
  const newest = [...versions.matchAll(/Name: GLIBC_(\d+)\.(\d+)/g)].map(match => [Number(match[1]), Number(match[2])]);
  const tooNew = [...new Set(newest.filter(isNewer).map(version => version.join('.')))];
  const runtimes = /Name: (GLIBCXX|CXXABI|GCC)_/.test(versions) ? ['a C++ runtime of the system'] : [];
  return [
    ...foreign.map(library => `${name} needs ${library}, which the package does not carry`),
    ...tooNew.map(version => `${name} needs glibc ${version}; the floor is ${NEWEST_GLIBC.join('.')}`),
    ...runtimes.map(runtime => `${name} needs ${runtime}`),
  ];
}

/** The addon must load, and say what it is, in a plain Node with nothing of ours around it. */
function loadProblems(folder, { cuda }) {
  const addon = path.join(folder, 'dist', 'native', 'lqstudio.node');
  const program = `JSON.stringify(require(${JSON.stringify(addon)}).devices())`;
  const loaded = capture(process.execPath, ['-p', program]);
  if (!loaded.ok) return [`the packaged addon does not load: ${loaded.stderr.trim()}`];
  const { devices, libraries } = JSON.parse(loaded.stdout);
  return [
    ...(devices[0].id === 'cpu' ? [] : ['the packaged addon does not offer the CPU']),
    ...(!cuda || libraries[0]?.path.endsWith(CUDA_BACKEND)
      ? []
      : ['the packaged addon does not find the CUDA backend']),
  ];
}

/**
 * @param {string} vsix
 * @param {{ cuda: boolean }} contents whether it is to hold the CUDA backend
 * @returns {{ bytes: number, files: { name: string, bytes: number }[], problems: string[] }}
 */
export function verifyPackage(vsix, { cuda }) {
  const scratch = mkdtempSync(path.join(tmpdir(), 'lq-vsix-'));
  try {
    capture('python3', ['-m', 'zipfile', '-e', vsix, scratch]);
    const folder = path.join(scratch, 'extension');
    const files = readdirSync(folder, { recursive: true })
      .filter(name => statSync(path.join(folder, name)).isFile())
      .map(name => ({ name, bytes: statSync(path.join(folder, name)).size }));
    const names = new Set(files.map(file => file.name));
    const carried = new Set(files.map(file => path.basename(file.name)));
    const bytes = statSync(vsix).size;
    const problems = [
      ...(cuda ? [...EXPECTED, CUDA_BACKEND] : EXPECTED)
        .filter(name => !names.has(name))
        .map(name => `${name} is missing`),
      ...files.filter(file => !isAllowed(file.name)).map(file => `${file.name} does not belong in the package`),
      ...files
        .filter(file => isElf(path.join(folder, file.name)))
        .flatMap(file => elfProblems(path.join(folder, file.name), file.name, carried)),
      ...(bytes > MAXIMUM_BYTES ? [`${(bytes / MEBIBYTE).toFixed(1)} MiB is over the limit of 15`] : []),
      ...loadProblems(folder, { cuda }),
      ...(cuda && names.has(CUDA_BACKEND) ? cudaProblems(path.join(folder, CUDA_BACKEND)) : []),
    ];
    return { bytes, files, problems };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
