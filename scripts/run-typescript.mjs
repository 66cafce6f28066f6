// Bundles one TypeScript program and runs it with Node, for commands that are not part of the product.
import * as esbuild from 'esbuild';
import { run } from './lib.mjs';

export async function runTypeScript(entry, outfile, args) {
  await esbuild.build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
  });
  run(process.execPath, [outfile, ...args]);
}
