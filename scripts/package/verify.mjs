// What must be true of the package before anybody installs it. Reads the finished .vsix, not the folders it was made from.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { capture } from '../lib.mjs';
import { cudaProblems } from './cuda.mjs';

const MEBIBYTE = 1024 * 1024;
/** Two of them are the tokenizer library. */
export const MAXIMUM_BYTES = 20 * MEBIBYTE;
/** VS Code's own floor on Linux; its C++ runtime is of GCC 8. */
const NEWEST = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25], CXXABI: [1, 3, 11], GCC: [8] };

/** Part of every glibc installation, and what Node and VS Code themselves are linked with. */
const SYSTEM_LIBRARIES =
  /^((libc|libm|libpthread|libdl|librt|ld-linux-x86-64)\.so\.\d|libstdc\+\+\.so\.6|libgcc_s\.so\.1)$/;

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
  'dist/native/tokenizers.node',
  'dist/tokenizer-process.js',
];
const ALLOWED = [
  ...EXPECTED,
  /^dist\/webview\/[\w.-]+\.(js|css|ttf|txt)$/,
  /^dist\/[\w-]+\.js\.LEGAL\.txt$/,
  CUDA_BACKEND,
  /^media\/[\w./-]+\.(svg|png|md|css)$/,
];

const isAllowed = file => ALLOWED.some(rule => (typeof rule === 'string' ? rule === file : rule.test(file)));
const isElf = file => readFileSync(file).subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'));

/** Whether a version such as GLIBC_2.30 is beyond the floor. */
function isTooNew(symbol) {
  const [library, version] = symbol.split('_');
  const floor = NEWEST[library];
  const parts = version.split('.').map(Number);
  const at = parts.findIndex((part, i) => part !== (floor[i] ?? 0));
  return at >= 0 && parts[at] > (floor[at] ?? 0);
}

/** Problems of one ELF file: libraries it needs from outside, symbols newer than the floor. */
function elfProblems(file, name, carried) {
  const dynamic = capture('readelf', ['-dW', file]).stdout;
  const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(match => match[1]);
  const foreign = needed.filter(library => !SYSTEM_LIBRARIES.test(library) && !carried.has(library));
  const versions = capture('readelf', ['-VW', file]).stdout;
  const needs = [...versions.matchAll(/Name: ((?:GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+)/g)].map(match => match[1]);
  const tooNew = [...new Set(needs.filter(isTooNew))];
  return [
    ...foreign.map(library => `${name} needs ${library}, which the package does not carry`),
    ...tooNew.map(version => `${name} needs ${version}, which is newer than VS Code's floor`),
  ];
}

/** The addon and the tokenizers must load, and say what they are, in a plain Node with nothing of ours around them. */
function loadProblems(folder, { cuda }) {
  const addon = path.join(folder, 'dist', 'native', 'lqstudio.node');
  const program = `JSON.stringify(require(${JSON.stringify(addon)}).devices())`;
  const loaded = capture(process.execPath, ['-p', program]);
  if (!loaded.ok) return [`the packaged addon does not load: ${loaded.stderr.trim()}`];
  const { devices, libraries } = JSON.parse(loaded.stdout);
  const tokenizers = path.join(folder, 'dist', 'native', 'tokenizers.node');
  const library = capture(process.execPath, [
    '-p',
    `typeof require(${JSON.stringify(tokenizers)}).Tokenizer.fromString`,
  ]);
  return [
    ...(library.stdout.trim() === 'function' ? [] : [`the packaged tokenizers do not load: ${library.stderr.trim()}`]),
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
      ...(bytes > MAXIMUM_BYTES
        ? [`${(bytes / MEBIBYTE).toFixed(1)} MiB is over the limit of ${MAXIMUM_BYTES / MEBIBYTE}`]
        : []),
      ...loadProblems(folder, { cuda }),
      ...(cuda && names.has(CUDA_BACKEND) ? cudaProblems(path.join(folder, CUDA_BACKEND)) : []),
    ];
    return { bytes, files, problems };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
