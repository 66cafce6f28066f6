import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { ID, internals } from './internals';

describe('activation', () => {
  it('is quick and needs no engine', async () => {
    const extension = vscode.extensions.getExtension(ID);
    assert.ok(extension, `${ID} is not installed`);
    // Processor time: the machine of a test has other things to do, which are not the extension's.
    const before = process.cpuUsage();
    await extension.activate();
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 100_000, `activation took ${(user + system) / 1000} ms`);
    const { studio } = await internals();
    assert.equal(studio.engine.state.state, 'stopped');
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
