/** Packages test/e2e/companion, the extension that stands for those which bring virtual file systems. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { repository } from './server';

/** @returns the .vsix */
export async function packageCompanion(): Promise<string> {
  const source = path.join(repository, 'test', 'e2e', 'companion');
  const folder = path.join(repository, 'build', 'companion');
  const vsix = path.join(folder, 'companion.vsix');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  copyFileSync(path.join(source, 'package.json'), path.join(folder, 'package.json'));
  await build({
    entryPoints: [path.join(source, 'extension.ts')],
    outfile: path.join(folder, 'extension.js'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['vscode'],
  });
  const vsce = path.join(repository, 'node_modules', '@vscode', 'vsce', 'vsce');
  const options = ['--no-dependencies', '--allow-missing-repository', '--skip-license', '--out', vsix];
  execFileSync(process.execPath, [vsce, 'package', ...options], { cwd: folder });
  return vsix;
}
