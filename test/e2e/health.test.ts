/** Check Health on checkpoints with faults: what is wrong stands in the Problems panel, and each line leads to its place. */
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeFaulty } from '../harness/checkpoints';
import { makeWorkspace } from '../harness/server';
import { Session } from '../harness/session';

const session = new Session({
  workspace: () => {
    const folder = makeWorkspace([]);
    writeFaulty(path.join(folder, 'faulty'));
    writeFileSync(path.join(folder, 'truncated.safetensors'), Buffer.from('not a header'));
    return folder;
  },
});
const CHECKPOINT = 'body[data-panel="checkpoint"]';

describe('checking health', () => {
  it('marks both in the tree before anything is computed', async () => {
    const { editor } = session;
    await editor.showSideBar('LQ Studio');
    await editor.treeItem(/truncated\.safetensors/).waitFor();
    await editor.expand(/^Checkpoint faulty/);
    await editor.treeItem(/model-00003-of-00003\.safetensors is missing/).waitFor();
    await editor.screenshot('broken-tree');
  });

  it('puts NaN, Inf, a dead row, a missing shard and a bad header into the Problems panel', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Check Health');
    await editor.choose('faulty');
    await editor.answer(/faulty: \d+ problems found/, 'Show Problems');
    await editor.problem(/model\.layers\.0\.self_attn\.q_proj\.weight.* has 2 NaN, the first at index 5/).waitFor();
    await editor.problem(/model\.layers\.0\.self_attn\.k_proj\.weight.* has 1 infinite/).waitFor();
    await editor.problem(/model\.layers\.0\.self_attn\.v_proj\.weight.* has 1 row of zeros/).waitFor();
    await editor.problem(/model-00003-of-00003\.safetensors is missing/).waitFor();
    await editor.problem(/model-00002-of-00003\.safetensors: /).waitFor();
    await editor.screenshotInBothThemes('problems');
  });

  it('leads from a missing shard to its line in the index', async () => {
    const { editor } = session;
    await editor.problem(/model-00003-of-00003\.safetensors is missing/).dblclick();
    const line = editor.page.locator('.editor-instance .view-line').filter({ hasText: 'model-00003-of-00003' });
    await line.first().waitFor();
    await expect.poll(() => editor.page.locator('.statusbar').textContent()).toMatch(/Ln \d+, Col \d+/);
  });

  it('leads from a NaN to the checkpoint that has it', async () => {
    const { editor } = session;
    await editor.problem(/has 2 NaN/).dblclick();
    const panel = await editor.panel(`${CHECKPOINT}[data-target*="model-00001-of-00003"]`);
    await panel.getByText('model.layers.0.self_attn.q_proj.weight').first().waitFor();
  });

  it('puts a file that cannot be opened there too, and takes it out when the file is gone', async () => {
    const { editor } = session;
    await editor.command('View: Close All Editors');
    await editor.command('LQ Studio: Check Health');
    await editor.choose('truncated.safetensors');
    await editor.notification('truncated.safetensors: one problem found').waitFor();
    await editor.problem(/a text that begins/).waitFor();
    rmSync(path.join(session.workspace, 'truncated.safetensors'));
    await editor.problem(/a text that begins/).waitFor({ state: 'detached' });
  });
});
