import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { labelOf, eventually, inWorkspace, internals } from './internals';

const roots = async (): Promise<vscode.TreeItem[]> => {
  const { tree } = await internals();
  return (await tree.getChildren()).map(element => tree.getTreeItem(element));
};
const root = async (label: string) => (await roots()).find(item => labelOf(item) === label);

describe('a workspace of several folders', () => {
  it('lists the checkpoints of each, adapters among them', async () => {
    assert.equal(vscode.workspace.workspaceFolders?.length, 2);
    assert.ok(await root('tiny-books-4m'));
    const adapter = await root('adapter');
    assert.ok(adapter, 'the second folder is searched too');
    assert.match(String(adapter.description), /256 · /);
  });

  it('explains the keys of an adapter’s configuration', async () => {
    const [, second] = vscode.workspace.workspaceFolders!;
    const uri = vscode.Uri.joinPath(second!.uri, 'adapter', 'adapter_config.json');
    const document = await vscode.workspace.openTextDocument(uri);
    const at = document.positionAt(document.getText().indexOf('lora_alpha') + 1);
    const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', uri, at);
    const text = hovers.flatMap(each => each.contents).map(each => (each as vscode.MarkdownString).value);
    assert.match(text.join('\n'), /scal/i);
  });
});

describe('a checkpoint outside the workspace', () => {
  it('is listed once it was opened, and can be taken off the list', async () => {
    const outside = vscode.Uri.joinPath(inWorkspace(), '..', 'outside');
    await vscode.workspace.fs.copy(inWorkspace('tiny-books-4m'), outside);
    try {
      await vscode.commands.executeCommand('lqStudio.open', outside);
      const item = await eventually(() => root('outside'), 'the checkpoint being listed');
      assert.match(item.contextValue ?? '', /^checkpoint\.outside$/);
      await vscode.commands.executeCommand('lqStudio.removeCheckpoint', { model: outside.fsPath });
      assert.equal(await root('outside'), undefined);
    } finally {
      await vscode.commands.executeCommand('workbench.action.closeAllEditors');
      await vscode.workspace.fs.delete(outside, { recursive: true });
    }
  });
});

describe('settings', () => {
  const set = (key: string, value: unknown) =>
    vscode.workspace.getConfiguration('lqStudio').update(key, value, vscode.ConfigurationTarget.Workspace);

  it('switch hovers off', async () => {
    const uri = inWorkspace('tiny-books-4m', 'config.json');
    const document = await vscode.workspace.openTextDocument(uri);
    const at = document.positionAt(document.getText().indexOf('hidden_size') + 1);
    const ours = async () => {
      const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', uri, at);
      return hovers.some(({ contents }) => (contents[0] as vscode.MarkdownString).value.includes('residual stream'));
    };
    assert.equal(await ours(), true);
    await set('hovers.enabled', false);
    assert.equal(await ours(), false);
    await set('hovers.enabled', undefined);
  });

  it('switch decorations off', async () => {
    const { decorations } = await internals();
    const shard = inWorkspace('tiny-books-4m', 'model-00001-of-00002.safetensors');
    assert.ok(await decorations.provideFileDecoration(shard));
    await set('decorations.enabled', false);
    assert.equal(await decorations.provideFileDecoration(shard), undefined);
    await set('decorations.enabled', undefined);
  });

  it('say where the engine keeps its results', async () => {
    const { studio } = await internals();
    const folder = inWorkspace('own-cache').fsPath;
    await set('cache.folder', folder);
    const { jobSettings } = await import('../../../extension/host/settings');
    assert.equal(jobSettings().cache, folder);
    const report = await studio.engine.request('doctor', jobSettings());
    assert.equal(report.cache.folder, folder);
    await set('cache.folder', undefined);
  });
});

describe('files of a virtual file system', () => {
  const elsewhere = vscode.Uri.parse('lq-memory:/work/model.safetensors');

  it('have no decoration', async () => {
    const { decorations } = await internals();
    assert.equal(await decorations.provideFileDecoration(elsewhere), undefined);
  });

  it('are opened by no command, and the files of the same path on the disk neither', async () => {
    for (const command of ['open', 'showHeatmap', 'checkHealth', 'compress']) {
      await vscode.commands.executeCommand(`lqStudio.${command}`, elsewhere);
    }
    assert.deepEqual(
      vscode.window.tabGroups.all.flatMap(group => group.tabs).map(tab => tab.label),
      [],
    );
    assert.equal(await root('model'), undefined);
  });
});
