/** Where the extension may do less: a folder that nobody has trusted, and a folder of a virtual file system. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageCompanion } from '../harness/companion';
import { descendants } from '../harness/processes';
import { makeWorkspace, sampleModel } from '../harness/server';
import { Session } from '../harness/session';

const CHECKPOINT = 'body[data-panel="checkpoint"]';
const QUERY = 'model.layers.0.self_attn.q_proj.weight';

const session = new Session({
  workspace: () => makeWorkspace([sampleModel]),
  companions: async () => [await packageCompanion()],
  trust: true,
});

describe('in Restricted Mode', () => {
  it('shows the tree and the checkpoint', async () => {
    const { editor } = session;
    await editor.page.locator('.statusbar-item').getByText('Restricted Mode').waitFor();
    await editor.showSideBar('LQ Studio');
    await editor.expand(/^Checkpoint tiny-books-4m/);
    await editor.expand(/^model/);
    await editor
      .treeItem(/layers.*4 ×/)
      .first()
      .waitFor();
    await editor.openFile('tiny-books-4m/model-00001-of-00002.safetensors');
    const panel = await editor.panel(CHECKPOINT);
    await panel.getByText(QUERY).first().waitFor();
    expect(await panel.locator('body').textContent()).toContain('LlamaForCausalLM');
  });

  it('tells of tensors under the pointer', async () => {
    const { editor } = session;
    await editor.openFile('tiny-books-4m/model.safetensors.index.json');
    await editor.page.getByText(`"${QUERY}"`).first().hover();
    await expect.poll(() => editor.hover().textContent()).toContain('256 × 256');
  });

  it('refuses to compute, with a reason', async () => {
    const { editor } = session;
    await editor.openFile('tiny-books-4m/model-00001-of-00002.safetensors');
    const panel = await editor.panel(CHECKPOINT);
    await panel.getByText(QUERY).first().click();
    await panel.getByText(/trust/i).first().waitFor();
    await expect.poll(() => panel.getByRole('button', { name: 'Compute Statistics' }).isEnabled()).toBe(false);
    expect(await editor.violationsInEveryTheme('restricted', panel)).toEqual([]);
  });

  it('explains in the compress panel why it cannot start', async () => {
    const { editor } = session;
    const checkpoint = await editor.panel(CHECKPOINT);
    await checkpoint.getByRole('button', { name: 'Compress…' }).click();
    const panel = await editor.panel('body[data-panel="compress"]');
    await panel.getByText(/trust/i).first().waitFor();
    expect(await panel.getByRole('button', { name: 'Start', exact: true }).isEnabled()).toBe(false);
    await editor.screenshot('restricted-compress');
  });

  it('checks the headers alone', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Check Health');
    await editor.notification(/Headers of .*: no problems found.*once the workspace is trusted/).waitFor();
  });

  it('disables the compress command', async () => {
    const { editor } = session;
    const title = 'LQ Studio: Compress Checkpoint';
    expect(await editor.offered('LQ Studio: Show Heatmap')).toBe(true);
    expect(await editor.offered(title)).toBe(false);
    const button = await editor.lineButton(editor.treeItem(/^Checkpoint tiny-books-4m/), 'Compress Checkpoint…');
    expect(await button.getAttribute('aria-disabled')).toBe('true');
  });

  it('has started no engine', () => {
    expect(descendants(session.server.pid, 'dist/engine.js')).toEqual([]);
  });
});

describe('in a virtual workspace', () => {
  beforeAll(async () => {
    const file = path.join(session.workspace, 'virtual.code-workspace');
    writeFileSync(file, JSON.stringify({ folders: [{ uri: 'lq-memory:/work', name: 'virtual' }] }));
    await session.openWindow(file);
  });

  it('says why there are no checkpoints, and what can be done', async () => {
    const { editor } = session;
    await editor.showSideBar('LQ Studio');
    await editor.page
      .locator('.sidebar')
      .getByText(/virtual file system/)
      .waitFor();
    await editor.page.locator('.sidebar').getByRole('button', { name: 'Open Checkpoint' }).waitFor();
    await editor.screenshotInBothThemes('virtual');
  });

  it('opens a checkpoint file to the reason why it shows nothing', async () => {
    const { editor } = session;
    await editor.showSideBar('Explorer');
    await editor.treeItem('model.safetensors').dblclick();
    const panel = await editor.panel('h1');
    expect(await panel.locator('h1').textContent()).toBe('Not on this machine');
    await editor.screenshotInBothThemes('virtual-editor');
  });

  it('answers a command about such a file with a sentence', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Show Heatmap');
    await editor
      .notification('Only checkpoints on a disk of the machine that runs the extension can be opened.')
      .waitFor();
  });

  it('leaves hovers over its documents to others', async () => {
    const { editor } = session;
    await editor.treeItem('train.py').dblclick();
    await editor.page.locator('.view-line').getByText('model.layers.0.mlp.up_proj.weight').hover();
    await editor.page.waitForTimeout(1000);
    expect(await editor.hover().filter({ hasText: '2 × 2' }).count()).toBe(0);
    expect(await editor.notification(/error|exception|cannot read/i).count()).toBe(0);
  });
});
