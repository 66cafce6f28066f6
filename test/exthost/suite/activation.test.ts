import assert from 'node:assert/strict';
import * as vscode from 'vscode';

const ID = 'lq-studio.lq-studio';

describe('activation', () => {
  it('is quick and needs no engine', async () => {
    const extension = vscode.extensions.getExtension(ID);
    assert.ok(extension, `${ID} is not installed`);
    const start = performance.now();
    await extension.activate();
    assert.ok(performance.now() - start < 100, 'activation took 100 ms or more');
  });

  it('registers every command that the manifest offers', async () => {
    const extension = vscode.extensions.getExtension(ID);
    assert.ok(extension);
    const manifest = extension.packageJSON as { contributes?: { commands?: { command: string }[] } };
    const registered = new Set(await vscode.commands.getCommands(true));
    const offered = (manifest.contributes?.commands ?? []).map(each => each.command);
    assert.deepEqual(
      offered.filter(command => !registered.has(command)),
      [],
    );
  });
});
