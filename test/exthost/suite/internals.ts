import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Internals } from '../../../extension/host/extension';

export const ID = 'lq-studio.lq-studio';

/** The extension's own objects, handed out in test hosts only. */
export async function internals(): Promise<Internals> {
  const extension = vscode.extensions.getExtension<Internals | undefined>(ID);
  assert.ok(extension, `${ID} is not installed`);
  const given = await extension.activate();
  assert.ok(given, 'the host does not run in test mode');
  return given;
}

/** A path in the workspace. */
export function inWorkspace(...parts: string[]): vscode.Uri {
  const [folder] = vscode.workspace.workspaceFolders ?? [];
  assert.ok(folder);
  return vscode.Uri.joinPath(folder.uri, ...parts);
}

/** Waits until `look` gives something; VS Code tells of file changes when it likes. */
export async function eventually<T>(look: () => T | undefined | Promise<T | undefined>, what: string): Promise<T> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not happen within 10 s`);
}

export const labelOf = (item: vscode.TreeItem): string =>
  typeof item.label === 'string' ? item.label : (item.label?.label ?? '');
