import { chmod, mkdir, writeFile } from 'node:fs/promises';
import * as path from 'node:path';
import type * as vscode from 'vscode';

/**
 * Puts `lq-studio` on the PATH of VS Code's own terminals: a script that runs the extension's command line with the Node that
 * runs the extension, so that copied commands run there as they are and no Node needs to be installed.
 */
export async function offerCommandLine(context: vscode.ExtensionContext): Promise<void> {
  const folder = path.join(context.globalStorageUri.fsPath, 'bin');
  await mkdir(folder, { recursive: true });
  const cli = context.asAbsolutePath(path.join('dist', 'cli.js'));
  const script = path.join(folder, 'lq-studio');
  await writeFile(script, shellScript(process.execPath, cli));
  await chmod(script, 0o755);
  const { environmentVariableCollection: variables } = context;
  variables.description = 'Puts `lq-studio` on the PATH.';
  variables.prepend('PATH', `${folder}${path.delimiter}`);
}

/** On desktops the extension host is Electron, which is a plain Node when it is told so. */
const shellScript = (node: string, cli: string): string =>
  `#!/bin/sh\nELECTRON_RUN_AS_NODE=1 exec ${quoted(node)} ${quoted(cli)} "$@"\n`;

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
