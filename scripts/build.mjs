// Bundles TypeScript with esbuild into dist: the extension host, the engine, the command line, and one script and
// stylesheet for every folder of webview/ that has a main.tsx. Puts the tokenizer library beside the addon.
//   --production  minified, as packaged      --watch  rebuild on change
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import * as esbuild from 'esbuild';
import { inRoot, step } from './lib.mjs';

const production = process.argv.includes('--production');
const watch = process.argv.includes('--watch');

const common = {
  absWorkingDir: inRoot(),
  bundle: true,
  sourcemap: true,
  minify: production,
  // Class and function names appear in logs and errors.
  keepNames: production,
  legalComments: 'external',
  logLevel: 'warning',
};

/** Bundles that run in Node. CommonJS, because that is what the extension host loads without a detour. */
const node = (entry, outfile, options = {}) => ({
  ...common,
  entryPoints: [entry],
  outfile,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  external: ['vscode', '*.node'],
  // Sources are ES modules and may ask where they are.
  define: { 'import.meta.url': 'moduleUrl' },
  banner: {
    js: `${options.shebang ? '#!/usr/bin/env node\n' : ''}const moduleUrl = require('node:url').pathToFileURL(__filename).href;`,
  },
});

const views = readdirSync(inRoot('webview'), { withFileTypes: true })
  .filter(entry => entry.isDirectory() && existsSync(inRoot('webview', entry.name, 'main.tsx')))
  .map(entry => ({ in: `webview/${entry.name}/main.tsx`, out: entry.name }));

const bundles = [
  node('extension/host/extension.ts', 'dist/extension.js'),
  node('extension/engine/main.ts', 'dist/engine.js'),
  node('extension/engine/tokenizer-process.ts', 'dist/tokenizer-process.js'),
  node('extension/cli/main.ts', 'dist/cli.js', { shebang: true }),
  {
    ...common,
    entryPoints: views,
    outdir: 'dist/webview',
    platform: 'browser',
    target: 'chrome120',
    format: 'iife',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    loader: { '.svg': 'text', '.ttf': 'file' },
  },
].filter(bundle => bundle.entryPoints.every(entry => existsSync(inRoot(entry.in ?? entry))));

step(`Bundling${production ? ' for production' : ''}`);
rmSync(inRoot('dist', 'webview'), { recursive: true, force: true });
mkdirSync(inRoot('dist', 'native'), { recursive: true });
// The package brings binaries for every platform; this one is loaded by extension/engine/tokenizer-process.ts.
copyFileSync(
  inRoot('node_modules', 'tokenizers', `tokenizers.linux-${process.arch}-gnu.node`),
  inRoot('dist', 'native', 'tokenizers.node'),
);
if (watch) {
  for (const bundle of bundles) await (await esbuild.context(bundle)).watch();
} else {
  try {
    await Promise.all(bundles.map(bundle => esbuild.build(bundle)));
  } catch {
    process.exit(1); // esbuild has printed what is wrong and where
  }
  if (existsSync(inRoot('dist', 'cli.js'))) chmodSync(inRoot('dist', 'cli.js'), 0o755);
}
