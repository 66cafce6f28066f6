import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { inWorkspace, internals } from './internals';

describe('file decorations', () => {
  it('give parameters, type and bits of a shard and of the whole', async () => {
    const { decorations } = await internals();
    const whole = await decorations.provideFileDecoration(inWorkspace('tiny-books-4m', 'model.safetensors.index.json'));
    assert.ok(whole);
    assert.equal(whole.badge, '16');
    assert.match(whole.tooltip ?? '', /3\.95 M parameters .*BF16 · 16\.00 bits per weight/);
    const shard = await decorations.provideFileDecoration(
      inWorkspace('tiny-books-4m', 'model-00001-of-00002.safetensors'),
    );
    assert.ok(shard);
    assert.match(shard.tooltip ?? '', /parameters/);
    assert.notEqual(shard.tooltip, whole.tooltip);
  });

  it('mark what cannot be read, and leave other files alone', async () => {
    const { decorations } = await internals();
    const broken = inWorkspace('broken-badge.safetensors');
    await vscode.workspace.fs.writeFile(broken, new Uint8Array(4));
    try {
      assert.equal((await decorations.provideFileDecoration(broken))?.badge, '!');
    } finally {
      await vscode.workspace.fs.delete(broken);
    }
    assert.equal(await decorations.provideFileDecoration(inWorkspace('tiny-books-4m', 'config.json')), undefined);
  });
});
