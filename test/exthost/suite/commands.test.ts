import assert from 'node:assert/strict';
import { readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { isOlder } from '../../../extension/host/older';
import { formOf } from '../../../extension/host/panels/compress';
import { startStatistics } from '../../../extension/host/statistics';
import { eventually, inWorkspace, internals } from './internals';

const sample = () => inWorkspace('tiny-books-4m').fsPath;

describe('commands', () => {
  afterEach(() => vscode.commands.executeCommand('workbench.action.closeAllEditors'));

  it('copy the name of a tensor', async () => {
    const tensor = 'model.norm.weight';
    await vscode.commands.executeCommand('lqStudio.copyName', { model: sample(), tensor });
    assert.equal(await vscode.env.clipboard.readText(), tensor);
  });

  it('open a folder by the file that stands for it, in the custom editor', async () => {
    await vscode.commands.executeCommand('lqStudio.open', inWorkspace('tiny-books-4m'));
    const input = await eventually(() => vscode.window.tabGroups.activeTabGroup.activeTab?.input, 'a tab opening');
    assert.ok(input instanceof vscode.TabInputCustom);
    assert.equal(input.viewType, 'lqStudio.checkpointIndex');
    assert.equal(input.uri.fsPath, inWorkspace('tiny-books-4m', 'model.safetensors.index.json').fsPath);
  });

  it('show each panel of a checkpoint once', async () => {
    for (const [command, title] of [
      ['compress', 'Compress: tiny-books-4m'],
      ['showHeatmap', 'Heatmap: tiny-books-4m'],
      ['showAllocation', 'Allocation: tiny-books-4m'],
      ['showPerplexity', 'Perplexity: tiny-books-4m'],
      ['compareMethods', 'Methods: tiny-books-4m'],
    ] as const) {
      const tabs = () => vscode.window.tabGroups.all.flatMap(group => group.tabs).filter(tab => tab.label === title);
      await vscode.commands.executeCommand(`lqStudio.${command}`, { model: sample() });
      await eventually(() => tabs()[0], `${title} opening`);
      await vscode.commands.executeCommand(`lqStudio.${command}`, { model: sample() });
      assert.equal(tabs().length, 1);
    }
  });

  it('take a shard for the checkpoint it is of', async () => {
    const shard = inWorkspace('tiny-books-4m', 'model-00001-of-00002.safetensors');
    await vscode.commands.executeCommand('lqStudio.compress', shard);
    const title = 'Compress: tiny-books-4m';
    const tabs = () => vscode.window.tabGroups.all.flatMap(group => group.tabs).filter(tab => tab.label === title);
    await eventually(() => tabs()[0], `${title} opening`);
  });

  it('forget the values of files that were overwritten in place, and say of runs that they are of older ones', async () => {
    const { studio } = await internals();
    const folder = inWorkspace('overwritten');
    await vscode.workspace.fs.copy(inWorkspace('tiny-books-4m'), folder);
    const file = inWorkspace('overwritten', 'model-00001-of-00002.safetensors').fsPath;
    const before = await studio.models.open(folder.fsPath);
    const job = await startStatistics(studio, before, ['model.norm.weight', 'model.embed_tokens.weight']);
    assert.ok(job);
    const ended = await studio.jobs.settled(job.id);
    assert.equal(await isOlder(studio, ended), false);
    assert.equal((await studio.statistics.of(before)).size, 2);
    // As a tool does that keeps size, header and time.
    const { atime, mtime } = statSync(file);
    const bytes = readFileSync(file);
    bytes.fill(7, bytes.length - 8192);
    writeFileSync(file, bytes);
    utimesSync(file, atime, mtime);
    const after = await studio.models.reopen(folder.fsPath);
    assert.equal((await studio.statistics.of(after)).size, 0);
    assert.equal(await isOlder(studio, ended), true);
    await vscode.workspace.fs.delete(folder, { recursive: true });
  });

  it('are about the checkpoint and the tensor that the active panel shows', async () => {
    const { studio } = await internals();
    await vscode.commands.executeCommand('lqStudio.showHeatmap', { model: sample() });
    await eventually(() => (studio.active()?.model === sample() ? true : undefined), 'the heatmap being active');
    await vscode.commands.executeCommand('lqStudio.showAllocation');
    const labels = () => vscode.window.tabGroups.all.flatMap(group => group.tabs).map(tab => tab.label);
    await eventually(
      () => (labels().includes('Allocation: tiny-books-4m') ? true : undefined),
      'its allocation opening',
    );
    const tensor = 'model.layers.1.mlp.up_proj.weight';
    await vscode.commands.executeCommand('lqStudio.openTensor', { model: sample(), tensor });
    await eventually(() => (studio.active()?.tensor === tensor ? true : undefined), 'the tensor being selected');
    await vscode.commands.executeCommand('lqStudio.copyName');
    assert.equal(await vscode.env.clipboard.readText(), tensor);
  });

  it('call a checkpoint of the hub’s cache by its repository, and write nothing into the cache', async () => {
    const { studio } = await internals();
    const hub = vscode.Uri.joinPath(inWorkspace(), '..', 'hub');
    const commit = 'f1e2d3c4b5a6978877665544332211ffeeddccbb';
    const repository = vscode.Uri.joinPath(hub, 'models--books--tiny');
    await vscode.workspace.fs.copy(inWorkspace('tiny-books-4m'), vscode.Uri.joinPath(repository, 'snapshots', commit));
    try {
      // Either of the folders above stands for the snapshot.
      for (const folder of [repository, vscode.Uri.joinPath(repository, 'snapshots')]) {
        const model = await studio.models.open(folder.fsPath);
        assert.equal(model.header.label, 'books/tiny');
        assert.equal(formOf(studio, model).out, path.join(inWorkspace().fsPath, 'tiny-lq'));
        await vscode.commands.executeCommand('lqStudio.showHeatmap', folder);
        const labels = () => vscode.window.tabGroups.all.flatMap(group => group.tabs).map(tab => tab.label);
        await eventually(() => (labels().includes('Heatmap: books/tiny') ? true : undefined), 'its heatmap opening');
      }
    } finally {
      await vscode.commands.executeCommand('workbench.action.closeAllEditors');
      await vscode.workspace.fs.delete(hub, { recursive: true });
    }
  });

  it('put the faults of a checkpoint into the Problems panel, and take them out again', async () => {
    const index = inWorkspace('incomplete', 'model.safetensors.index.json');
    const map = { weight_map: { 'a.weight': 'model-00001-of-00001.safetensors' } };
    await vscode.workspace.fs.writeFile(index, Buffer.from(JSON.stringify(map, null, 2)));
    await vscode.commands.executeCommand('lqStudio.checkHealth', { model: index.fsPath });
    const [problem] = await eventually(() => {
      const found = vscode.languages.getDiagnostics(index);
      return found.length > 0 ? found : undefined;
    }, 'a problem appearing');
    assert.equal(problem?.source, 'LQ Studio');
    assert.equal(problem.code, 'shard-missing');
    assert.equal(problem.severity, vscode.DiagnosticSeverity.Error);
    assert.equal(problem.range.start.line, 2, 'it points at the shard in the index');
    await vscode.workspace.fs.delete(inWorkspace('incomplete'), { recursive: true });
  });

  it('compute statistics in the engine, which tooltips then have', async () => {
    const { studio, tree } = await internals();
    await vscode.commands.executeCommand('lqStudio.computeStatistics', { model: sample() });
    const model = await studio.models.open(sample());
    await eventually(
      async () => ((await studio.statistics.of(model)).size === model.tensors.length ? true : undefined),
      'the job having found all',
    );
    const element = await tree.find(model.path, 'model.layers.0.self_attn.k_proj.weight');
    assert.ok(element);
    const item = await tree.resolveTreeItem(tree.getTreeItem(element), element);
    assert.match((item.tooltip as vscode.MarkdownString).value, /Kurtosis/);
  });
});
