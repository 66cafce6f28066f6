// Everything a machine can say about style: what nothing uses, ESLint with the import boundaries and circles, prettier, clang-format.
//   node scripts/lint.mjs [--fix]
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { deps, inRoot, root, step } from './lib.mjs';
import { importCircles } from './lint/circles.mjs';
import { unpackWheels } from './python.mjs';

const fix = process.argv.includes('--fix');

const tool = (name, ...parts) => inRoot('node_modules', name, ...parts);
const nativeSources = ['native', 'test/contract'].flatMap(folder =>
  readdirSync(inRoot(folder), { recursive: true })
    .filter(file => /\.(h|cc|cu|cuh)$/.test(file))
    .map(file => path.join(folder, file)),
);

const clangFormat = path.join(deps, 'clang-format');
unpackWheels(clangFormat, ['clang-format==14.0.6']);

const checks = [
  // Before ESLint, which takes a minute.
  [
    'unused files, exports and dependencies',
    process.execPath,
    [
      tool('knip', 'bin', 'knip.js'),
      '--config',
      'scripts/lint/knip.jsonc',
      '--no-progress',
      '--treat-config-hints-as-errors',
    ],
  ],
  [
    'eslint',
    process.execPath,
    [tool('eslint', 'bin', 'eslint.js'), '.', '--max-warnings=0', ...(fix ? ['--fix'] : [])],
  ],
  [
    'prettier',
    process.execPath,
    [tool('prettier', 'bin', 'prettier.cjs'), fix ? '--write' : '--check', '--log-level=warn', '.'],
  ],
  [
    'clang-format',
    path.join(clangFormat, 'clang_format', 'data', 'bin', 'clang-format'),
    [...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...nativeSources],
  ],
];

let failed = 0;
step('import circles');
for (const circle of importCircles(root, ['extension', 'webview'])) {
  console.error(`These modules import each other: ${circle.join(', ')}`);
  failed++;
}
for (const [name, command, args] of checks) {
  step(name);
  if (spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
