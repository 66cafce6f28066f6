/** What a person sees before anything is computed, in the packaged extension. */
import { renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { writeHostile, writeManyTensors } from '../harness/checkpoints';
import { field } from '../harness/editor';
import { makeWorkspace, sampleModel } from '../harness/server';
import { Session } from '../harness/session';

const CHECKPOINT = 'body[data-panel="checkpoint"]';
const QUERY = 'model.layers.0.self_attn.q_proj.weight';

const session = new Session({
  workspace: () => {
    const folder = makeWorkspace([sampleModel]);
    writeHostile(path.join(folder, 'hostile', 'hostile.safetensors'));
    writeManyTensors(path.join(folder, 'many', 'many.safetensors'), 10_000);
    return folder;
  },
});

describe('the side bar', () => {
  it('lists the checkpoints of the workspace and opens them to layers', async () => {
    const { editor } = session;
    await editor.showSideBar('LQ Studio');
    await editor.treeItem(/^Checkpoint tiny-books-4m/).waitFor();
    await editor.expand(/^Checkpoint tiny-books-4m/);
    await editor.expand(/^model/);
    await editor.expand(/^layers/);
    await editor.screenshotInBothThemes('tree');
    await expect.poll(() => editor.treeItem(/layers.*4 ×/).count()).toBeGreaterThan(0);
  });

  it('shows a tooltip with the shape of a tensor', async () => {
    const { editor } = session;
    await editor
      .treeItem(/embed_tokens/)
      .first()
      .hover();
    await expect.poll(() => editor.hover().textContent()).toContain('2048 × 256');
  });
});

describe('finding a tensor', () => {
  const DEEP = 'model.layers.3.self_attn.q_proj.weight';

  it('filters the tree by letters in order while they are typed, and shows all of it again', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Filter Checkpoints');
    await editor.type('Filter Checkpoints', 'l3 q_proj');
    await editor.treeItem(new RegExp(`Tensor ${DEEP}`)).waitFor();
    await editor.treeItem(/embed_tokens/).waitFor({ state: 'detached' });
    await editor.page.keyboard.press('Enter');
    await editor.page.locator('.sidebar').getByText('Tensors matching “l3 q_proj”').waitFor();
    await editor.screenshot('filter');
    await editor.command('LQ Studio: Clear Filter');
    // Open as it was before.
    await editor.treeItem(/embed_tokens/).waitFor();
    await editor.treeItem(/^layers.*4 ×/).waitFor();
  });

  it('copies its name', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Copy Tensor Name');
    await editor.choose('tiny-books-4m');
    await editor.choose(DEEP);
    await expect.poll(() => editor.clipboard()).toBe(DEEP);
  });

  it('reveals it in the tree, and its shard in the Explorer', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Reveal Tensor in Checkpoints View');
    await editor.choose('tiny-books-4m');
    await editor.choose(DEEP);
    await editor.selectedTreeItem(/q_proj\.weight/).waitFor();
    await editor.command('LQ Studio: Reveal Shard in Explorer');
    await editor.choose('tiny-books-4m');
    await editor.choose(DEEP);
    await editor.selectedTreeItem(/model-00002-of-00002\.safetensors/).waitFor();
  });
});

describe('the checkpoint editor', () => {
  it('opens on a .safetensors file and shows its tensors', async () => {
    const { editor } = session;
    await editor.openFile('tiny-books-4m/model-00001-of-00002.safetensors');
    const panel = await editor.panel(CHECKPOINT);
    await expect.poll(() => panel.getByText(QUERY).count()).toBeGreaterThan(0);
    expect(await panel.locator('body').textContent()).toContain('LlamaForCausalLM');
  });

  it('shows statistics, a histogram and the spectrum of the selected tensor', async () => {
    const { editor } = session;
    const panel = await editor.panel(CHECKPOINT);
    await panel.getByText(QUERY).first().click();
    await panel.getByRole('region', { name: 'Statistics' }).waitFor();
    await expect.poll(() => panel.getByText('Kurtosis').count()).toBe(1);
    await panel
      .getByText(/suggested rank/i)
      .first()
      .waitFor();
    expect(await editor.violationsInEveryTheme('checkpoint', panel)).toEqual([]);
  });

  it('shows a hostile file as text', async () => {
    const { editor } = session;
    await editor.openFile('hostile/hostile.safetensors');
    const panel = await editor.panel(`${CHECKPOINT}[data-target*="hostile"]`);
    await panel.getByText('<img src=x').first().waitFor();
    await panel.getByRole('tab', { name: /Metadata/ }).click();
    await panel.getByText('javascript:parent').first().waitFor();
    expect(await panel.locator('img, iframe, b').count()).toBe(0);
    expect(await panel.title()).not.toBe('owned');
    expect(await editor.page.title()).not.toContain('owned');
    await editor.screenshot('hostile');
  });

  it('is usable within a second with 10,000 tensors', async () => {
    const { editor } = session;
    // The best of up to three: what else the machine does can only add to it.
    const selector = `${CHECKPOINT}[data-target*="many"]`;
    const open = async () => {
      const start = await editor.openFile('many/many.safetensors');
      const shown = await editor.panel(selector);
      await shown.getByText('model.embed_tokens.weight').first().waitFor();
      return { shown, took: performance.now() - start };
    };
    let { shown: panel, took: opened } = await open();
    for (let again = 0; again < 2 && opened >= 1000; again++) {
      await editor.command('View: Close Editor');
      const next = await open();
      panel = next.shown;
      opened = Math.min(opened, next.took);
    }
    let searched = Infinity;
    for (let again = 0; again < 3 && searched >= 1000; again++) {
      await field(panel, 'Filter tensors').fill('');
      await panel.getByText('model.embed_tokens.weight').first().waitFor();
      const typed = performance.now();
      await field(panel, 'Filter tensors').fill('layers.31.mlp.experts.9.down');
      await panel.getByText('model.layers.31.mlp.experts.9.down_proj.weight').first().waitFor();
      searched = Math.min(searched, performance.now() - typed);
    }
    console.log(`10,000 tensors: opened in ${opened.toFixed(0)} ms, searched in ${searched.toFixed(0)} ms`);
    expect(opened).toBeLessThan(1000);
    expect(searched).toBeLessThan(1000);
    await editor.screenshot('ten-thousand');
  });
});

describe('hovers', () => {
  it('tell the shape of a tensor named in the index', async () => {
    const { editor } = session;
    await editor.openFile('tiny-books-4m/model.safetensors.index.json');
    await editor.page.getByText(`"${QUERY}"`).first().hover();
    await expect.poll(() => editor.hover().textContent()).toContain('256 × 256');
    await editor.screenshot('hover');
  });
});

describe('the Explorer', () => {
  it('has a badge and a tooltip on safetensors files', async () => {
    const { editor } = session;
    await editor.showSideBar('Explorer');
    const file = editor.treeItem(/model-00002-of-00002\.safetensors/);
    await expect.poll(() => editor.badge(file)).toBe('16');
    await file.hover();
    await expect.poll(() => editor.hover().textContent()).toMatch(/1\.6 M parameters .*BF16 · 16\.00 bits per weight/);
    await editor.screenshotInBothThemes('explorer');
  });
});

describe('a checkpoint outside the workspace', () => {
  it('is opened by path and kept in the list', async () => {
    const { editor } = session;
    const elsewhere = makeWorkspace([sampleModel]);
    const folder = path.join(elsewhere, 'elsewhere');
    renameSync(path.join(elsewhere, 'tiny-books-4m'), folder);
    onTestFinished(() => rmSync(elsewhere, { recursive: true }));
    await editor.command('LQ Studio: Open Checkpoint…');
    await editor.choose('Folder…');
    await editor.openPath('Checkpoint Folder', folder);
    await editor.panel(`${CHECKPOINT}[data-target*="/elsewhere/"]`);
    await editor.showSideBar('LQ Studio');
    await editor.treeItem(/^Checkpoint elsewhere/).waitFor();
    await editor.command('LQ Studio: Remove Checkpoint from List');
    await editor.treeItem(/^Checkpoint elsewhere/).waitFor({ state: 'detached' });
  });
});

describe('after the window was loaded again', () => {
  it('has the selected tensor and the filter as they were', async () => {
    const { editor } = session;
    await editor.command('View: Close All Editors');
    await editor.openFile('tiny-books-4m/model-00001-of-00002.safetensors');
    const before = await editor.panel(CHECKPOINT);
    await field(before, 'Filter tensors').fill('layers.1 k_proj');
    const tensor = 'model.layers.1.self_attn.k_proj.weight';
    await before.getByText(tensor).first().click();
    await before.getByRole('heading', { name: tensor }).waitFor();
    await editor.reload();
    const after = await editor.panel(`${CHECKPOINT} .strip`);
    await after.getByRole('heading', { name: tensor }).waitFor();
    expect(await field(after, 'Filter tensors').inputValue()).toBe('layers.1 k_proj');
  });
});

describe('getting started', () => {
  it('is a walkthrough of four steps', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Get Started');
    const steps = editor.page.locator('.getting-started-step .step-title');
    await expect
      .poll(() => steps.allTextContents())
      .toEqual(['Look into a checkpoint', 'Compress it', 'Read the result', 'Use it elsewhere']);
    await editor.screenshotInBothThemes('walkthrough');
  });
});
