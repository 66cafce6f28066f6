import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { eventually, inWorkspace, internals } from './internals';

/** Text of all hovers of ours at the first place of `needle` in a document. */
async function hoverOver(document: vscode.TextDocument, needle: string): Promise<string> {
  const offset = document.getText().indexOf(needle);
  assert.ok(offset >= 0, `${needle} is not in the document`);
  const hovers = await vscode.commands.executeCommand<vscode.Hover[]>(
    'vscode.executeHoverProvider',
    document.uri,
    document.positionAt(offset + 1),
  );
  return hovers
    .flatMap(hover => hover.contents)
    .map(content => (content instanceof vscode.MarkdownString ? content.value : ''))
    .join('\n');
}

const documentOf = (language: string, content: string) => vscode.workspace.openTextDocument({ language, content });

describe('hovers', () => {
  it('rank the checkpoint that the file names first, and link to the tensor there', async () => {
    const copy = inWorkspace('a-copy');
    await vscode.workspace.fs.copy(inWorkspace('tiny-books-4m'), copy);
    const { studio } = await internals();
    try {
      const labels = async () => (await studio.checkpoints.list()).map(({ model }) => model?.header.label);
      await eventually(async () => ((await labels()).includes('a-copy') ? true : undefined), 'the copy being listed');
      for (const name of ['tiny-books-4m', 'a-copy']) {
        const text = `model = "${name}"\nname = "model.layers.1.self_attn.q_proj.weight"\n`;
        const hover = await hoverOver(await documentOf('python', text), 'model.layers.1.self_attn.q_proj');
        assert.match(hover, new RegExp(`in \`${name}\`[^]*in \``));
        const link = /\(command:lqStudio\.openTensor\?([^)]*)\)/.exec(hover);
        assert.deepEqual(JSON.parse(decodeURIComponent(link?.[1] ?? '')), [
          { model: inWorkspace(name).fsPath, tensor: 'model.layers.1.self_attn.q_proj.weight' },
        ]);
      }
    } finally {
      await vscode.workspace.fs.delete(copy, { recursive: true });
    }
  });

  it('tell of tensors and shards in an index', async () => {
    const uri = inWorkspace('tiny-books-4m', 'model.safetensors.index.json');
    const document = await vscode.workspace.openTextDocument(uri);
    const tensor = await hoverOver(document, 'model.layers.0.mlp.down_proj.weight');
    assert.match(tensor, /256 × 688/);
    assert.match(tensor, /BF16/);
    assert.match(await hoverOver(document, 'model-00001-of-00002.safetensors'), /parameters in .* tensors/);
  });

  it('explain the keys of config.json with their values', async () => {
    const document = await vscode.workspace.openTextDocument(inWorkspace('tiny-books-4m', 'config.json'));
    assert.match(await hoverOver(document, 'num_key_value_heads'), /2 query heads share one/);
  });

  it('know tensor names, modules and checkpoint paths in Python and YAML', async () => {
    const python = await documentOf(
      'python',
      `a = "model.layers.1.self_attn.q_proj.weight"\nb = 'model.layers.1.self_attn'\nc = "tiny-books-4m"\nd = "some.other.name"\n`,
    );
    assert.match(await hoverOver(python, 'model.layers.1.self_attn.q_proj'), /256 × 256/);
    assert.match(await hoverOver(python, "model.layers.1.self_attn'"), /parameters/);
    assert.match(await hoverOver(python, 'tiny-books-4m'), /LlamaForCausalLM/);
    assert.equal(await hoverOver(python, 'some.other.name'), '');
    const yaml = await documentOf('yaml', 'targets:\n  - model.layers.2.mlp.gate_proj.weight\n  - unknown.weight\n');
    assert.match(await hoverOver(yaml, 'model.layers.2.mlp.gate_proj'), /688 × 256/);
    assert.equal(await hoverOver(yaml, 'unknown.weight'), '');
  });
});
