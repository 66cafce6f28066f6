// One TypeScript project a runtime: core knows no platform, the engine and command line know Node, only the host knows vscode.
// What a project's last check found is kept under build/, so that an unchanged one takes no time.
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
  const kept = inRoot('build', 'typecheck', `${project.replaceAll('/', '-')}.tsbuildinfo`);
  const options = ['--noEmit', '--incremental', '--tsBuildInfoFile', kept];
  run(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '-p', inRoot(project), ...options]);
}
