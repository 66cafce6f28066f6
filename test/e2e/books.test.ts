/**
 * The whole way of a person with a larger model, books-20m: tree, editor, hover, compress, read, export. Settings make it
 * short: few configurations, and a rank that the form has to begin with. The steps are those of one session, in order.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { Frame } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { books, writeBooks } from '../harness/books';
import { field } from '../harness/editor';
import { descendants } from '../harness/processes';
import { makeWorkspace, sampleTexts } from '../harness/server';
import { Session } from '../harness/session';

const RANK = 8;
/** Three of the paper's 243: one of each number of code bits. */
const GRID = { b0: [2, 3, 4], b1: [4], b2: ['bf16'], B0: [64], B1: [64] };
const BLOCKS = `layers.*${books.layers} ×`;

const session = new Session({
  workspace: () => {
    const folder = makeWorkspace(sampleTexts);
    writeBooks(folder);
    return folder;
  },
  settings: { 'lqStudio.defaultRank': RANK, 'lqStudio.grid': GRID },
});
const out = () => path.join(session.workspace, `${books.name}-lq`);

describe('looking at books-20m', () => {
  it('lists it with its repeated blocks as one line', async () => {
    const { editor } = session;
    await editor.showSideBar('LQ Studio');
    await editor.expand(new RegExp(`^Checkpoint ${books.name}, 20.5 M`));
    await editor.expand(/^model/);
    await editor.treeItem(new RegExp(BLOCKS)).first().waitFor();
  });

  it('opens it with statistics and the spectrum of a tensor', async () => {
    const { editor } = session;
    await editor.openFile(`${books.name}/model-00002-of-00003.safetensors`);
    const panel = await editor.panel('body[data-panel="checkpoint"]');
    await panel
      .getByText(/^model\.layers\.\d\.mlp\.up_proj\.weight$/)
      .first()
      .click();
    await panel.getByRole('region', { name: 'Statistics' }).getByText('Kurtosis').waitFor();
    await panel
      .getByText(/suggested rank/i)
      .first()
      .waitFor();
    await editor.screenshot('books-checkpoint');
  });

  it('tells of a tensor and of a key under the pointer', async () => {
    const { editor } = session;
    await editor.openFile(`${books.name}/config.json`);
    await editor.page.getByText('"intermediate_size"').first().hover();
    await expect.poll(() => editor.hover().textContent()).toContain('2.67 times the hidden size');
  });
});

describe('compressing books-20m', () => {
  it('takes the rank and the configurations of the settings for the paper’s method', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Compress Checkpoint');
    const panel = await editor.panel('body[data-panel="compress"] .compress-form');
    const method = panel.getByRole('region', { name: 'Method' });
    await method.locator('vscode-dropdown').first().click();
    await method.getByRole('option', { name: 'LQ-LoRA' }).click();
    await expect.poll(() => field(panel, 'Rank').inputValue()).toBe(String(RANK));
    await fillForm(panel);
    await panel.locator('.estimate').getByText('Peak memory').waitFor();
  });

  it('goes on by itself after the window was loaded again in mid-job, and the status bar tells of it', async () => {
    const { editor, server } = session;
    const panel = await editor.panel('body[data-panel="compress"] .compress-form');
    await panel.getByRole('button', { name: 'Start', exact: true }).click();
    await editor
      .statusItem()
      .getByText(/Fisher information|Measuring costs/)
      .waitFor({ timeout: 60_000 });
    // Held still, so that the job cannot end before the window is gone.
    const [engine] = descendants(server.pid, 'dist/engine.js');
    process.kill(engine!, 'SIGSTOP');
    await editor.screenshot('status-bar');
    await editor.reload();
    // The window's last process may still be ending; after that the job is taken up again, with an engine of its own.
    await editor
      .statusItem()
      .getByText(/Fisher information|Measuring costs|Decomposing|Evaluating/)
      .waitFor({ timeout: 60_000 });
    expect(descendants(server.pid, 'dist/engine.js')).not.toContain(engine);
    const restored = await editor.panel('body[data-panel="compress"]');
    await restored.getByRole('heading', { name: /Compressed in/ }).waitFor({ timeout: 170_000 });
    await editor.screenshot('books-result');
    expect(existsSync(path.join(out(), 'config.json'))).toBe(true);
  });
});

describe('reading the result of books-20m', () => {
  it('has a cell for every matrix in the heatmap', async () => {
    const { editor } = session;
    const result = await editor.panel('body[data-panel="compress"]');
    await result.getByRole('button', { name: 'Heatmap' }).click();
    const panel = await editor.panel('body[data-panel="heatmap"] [role="grid"]');
    expect(await panel.getByRole('gridcell').count()).toBe(books.matrices);
    await editor.screenshot('books-heatmap');
  });

  it('allocates only what the settings allow', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Show Allocation');
    const panel = await editor.panel('body[data-panel="allocation"] .readout');
    const table = panel.getByRole('grid', { name: 'Plan' });
    await table.getByText('model.layers.0.self_attn.q_proj.weight').waitFor();
    const configurations = await table.getByText(/^NF\d b1=4 bf16 64x64/).count();
    expect(configurations).toBeGreaterThan(5);
    await editor.screenshot('books-allocation');
  });

  it('shows perplexity before and after', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Show Perplexity');
    const panel = await editor.panel('body[data-panel="perplexity"] canvas');
    await panel
      .getByRole('row')
      .filter({ hasText: `${books.name}-lq` })
      .first()
      .waitFor();
    await editor.screenshot('books-perplexity');
  });

  it('exports it dense', async () => {
    const { editor } = session;
    const dense = path.join(session.workspace, `${books.name}-dense`);
    await editor.command('View: Close All Editors');
    await editor.command('LQ Studio: Export');
    await editor.choose(`${books.name}-lq`);
    await editor.choose('Dense safetensors');
    await editor.page.locator('.quick-input-widget input.input').fill(dense);
    await editor.page.keyboard.press('Enter');
    await expect.poll(() => existsSync(dense), { timeout: 60_000 }).toBe(true);
    const config = JSON.parse(readFileSync(path.join(dense, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config['num_hidden_layers']).toBe(books.layers);
    expect(readdirSync(dense).some(name => name.endsWith('.safetensors'))).toBe(true);
  });

  it('finds its weights in good health', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Check Health');
    await editor.choose(`${books.name}-lq`);
    await editor.notification(`${books.name}-lq: no problems found`).waitFor({ timeout: 60_000 });
  });
});

async function fillForm(panel: Frame): Promise<void> {
  const text = (name: string) => path.join(session.workspace, name);
  await panel.getByText('Effective bits', { exact: true }).click();
  await field(panel, 'Budget').fill('3.5');
  await panel.getByText('From a text', { exact: true }).click();
  await field(panel, 'Calibration text').fill(text('calibration.txt'));
  await field(panel, 'Samples').fill('2');
  await field(panel, 'Evaluation text').fill(text('evaluation.txt'));
  await field(panel, 'Context in tokens').fill('128');
  await field(panel, 'Windows, all when empty').fill('2');
  await field(panel, 'Output folder').fill(out());
}
