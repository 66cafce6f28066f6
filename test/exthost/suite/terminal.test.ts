import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import * as vscode from 'vscode';
import { eventually, inWorkspace } from './internals';

describe('a terminal of the editor', () => {
  it('has lq-studio on its PATH', async () => {
    const result = inWorkspace('terminal-result.json').fsPath;
    const terminal = vscode.window.createTerminal({ name: 'test', shellPath: '/bin/sh' });
    try {
      terminal.sendText(
        `lq-studio inspect ${inWorkspace('tiny-books-4m').fsPath} --json > ${result}.new && mv ${result}.new ${result}`,
      );
      await eventually(() => (existsSync(result) ? true : undefined), 'the command ending');
      assert.ok(JSON.parse(readFileSync(result, 'utf8')));
    } finally {
      terminal.dispose();
      await vscode.workspace.fs.delete(vscode.Uri.file(result));
    }
  });
});
