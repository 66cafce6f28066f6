// One TypeScript project a runtime: core knows no platform, the engine and command line know Node, only the host knows vscode.
import { inRoot, run, step } from './lib.mjs';

for (const project of [
  'extension/core',
  'extension/protocol',
  'extension/engine',
  'extension/host',
  'webview',
  'test',
]) {
  step(`tsc ${project}`);
  run(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '-p', inRoot(project)]);
}
