import assert from 'node:assert/strict';
import * as vscode from 'vscode';
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
    const known = await studio.statistics.of(model);
    assert.equal(known.size, model.tensors.length);
    const element = await tree.find(model.path, 'model.layers.0.self_attn.k_proj.weight');
    assert.ok(element);
    const item = await tree.resolveTreeItem(tree.getTreeItem(element), element);
    assert.match((item.tooltip as vscode.MarkdownString).value, /Kurtosis/);
  });
});
