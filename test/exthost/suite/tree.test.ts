import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Element } from '../../../extension/host/tree';
import { eventually, inWorkspace, internals, labelOf as label } from './internals';

async function open(path: string[]): Promise<{ items: vscode.TreeItem[]; elements: Element[] }> {
  const { tree } = await internals();
  let elements = await tree.getChildren();
  for (const step of path) {
    const next = elements.find(element => label(tree.getTreeItem(element)) === step);
    assert.ok(next, `${step} is not among ${elements.map(each => label(tree.getTreeItem(each))).join(', ')}`);
    elements = await tree.getChildren(next);
  }
  return { elements, items: elements.map(element => tree.getTreeItem(element)) };
}

describe('tree of checkpoints', () => {
  afterEach(async () => (await internals()).tree.setFilter(''));

  it('lists a checkpoint of several shards once', async () => {
    const { items } = await open([]);
    const sample = items.filter(item => label(item) === 'tiny-books-4m');
    assert.equal(sample.length, 1);
    assert.match(String(sample[0]?.description), /3\.95 M · BF16 · 7\.9 MB/);
  });

  it('shows repeated blocks as one line that opens', async () => {
    const { items } = await open(['tiny-books-4m', 'model']);
    const blocks = items.find(item => label(item) === 'layers.0-3');
    assert.ok(blocks);
    assert.match(String(blocks.description), /^4 × /);
    const first = await open(['tiny-books-4m', 'model', 'layers.0-3', '0', 'self_attn']);
    assert.deepEqual(first.items.map(label), ['k_proj.weight', 'o_proj.weight', 'q_proj.weight', 'v_proj.weight']);
    assert.match(String(first.items[0]?.description), /128 × 256 · BF16 · 65\.5 kB/);
  });

  it('makes tooltips when they are asked for', async () => {
    const { tree } = await internals();
    const { items, elements } = await open(['tiny-books-4m', 'model']);
    assert.equal(items[0]?.tooltip, undefined);
    const resolved = await tree.resolveTreeItem(items[0]!, elements[0]!);
    assert.ok(resolved.tooltip instanceof vscode.MarkdownString);
    assert.match(resolved.tooltip.value, /model\.embed_tokens\.weight/);
    assert.match(resolved.tooltip.value, /2048 × 256/);
  });

  it('filters by letters in order and marks them', async () => {
    const { tree } = await internals();
    tree.setFilter('l3 q_proj');
    const { items } = await open(['tiny-books-4m']);
    const best = items[0]?.label as vscode.TreeItemLabel;
    assert.equal(best.label, 'model.layers.3.self_attn.q_proj.weight');
    assert.ok(best.highlights?.some(([from, to]) => best.label.slice(from, to).includes('q_proj')));
    assert.equal(await tree.hasMatches(), true);
    tree.setFilter('no such tensor');
    assert.deepEqual((await open([])).items, []);
    assert.equal(await tree.hasMatches(), false);
  });

  it('finds the place of a tensor, to reveal it', async () => {
    const { tree } = await internals();
    const found = await tree.find(inWorkspace('tiny-books-4m').fsPath, 'model.layers.2.mlp.up_proj.weight');
    const ancestors: string[] = [];
    for (let at: Element | undefined = found; at; at = tree.getParent(at)) ancestors.push(label(tree.getTreeItem(at)));
    assert.deepEqual(ancestors, ['up_proj.weight', 'mlp', '2', 'layers.0-3', 'model', 'tiny-books-4m']);
  });

  it('shows a broken file with its reason, and notices when it appears and goes', async () => {
    const { tree } = await internals();
    const file = inWorkspace('broken.safetensors');
    await vscode.workspace.fs.writeFile(file, new Uint8Array([1, 2, 3]));
    const find = async () => {
      const elements = await tree.getChildren();
      return elements.map(each => tree.getTreeItem(each)).find(item => label(item) === 'broken.safetensors');
    };
    const item = await eventually(find, 'the file appearing in the tree');
    assert.equal(item.contextValue, 'broken');
    assert.ok(String(item.description).length > 0);
    await vscode.workspace.fs.delete(file);
    await eventually(async () => ((await find()) ? undefined : true), 'the file leaving the tree');
  });

  it('notices at once that a folder of a checkpoint is renamed and deleted', async () => {
    const [before, after] = [inWorkspace('renamed-before'), inWorkspace('renamed-after')];
    await vscode.workspace.fs.copy(inWorkspace('tiny-books-4m'), before);
    const shown = async (name: string) => {
      const { items } = await open([]);
      return items.some(item => label(item) === name);
    };
    await eventually(async () => ((await shown('renamed-before')) ? true : undefined), 'the copy appearing');
    await vscode.workspace.fs.rename(before, after);
    await eventually(
      async () => ((await shown('renamed-before')) || !(await shown('renamed-after')) ? undefined : true),
      'the tree following',
    );
    await vscode.workspace.fs.delete(after, { recursive: true });
    await eventually(async () => ((await shown('renamed-after')) ? undefined : true), 'the folder leaving the tree');
  });
});
