/**
 * The main job in the packaged extension, to the end and with an accident: the engine is killed in the middle of the sweep.
 * Then what a person reads and does with the result. The tests are the steps of one session and run in order.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Frame } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { field } from '../harness/editor';
import { descendants } from '../harness/processes';
import { makeWorkspace, repository, sampleModel, sampleTexts } from '../harness/server';
import { Session } from '../harness/session';

/** How the panel names the stage. */
const SWEEP = 'Measuring costs';
const RECIPE = { effectiveBits: '2.5', samples: '16', context: '128', windows: '4' };

const session = new Session({
  workspace: () => makeWorkspace([sampleModel, ...sampleTexts]),
});
const inWorkspace = (name: string) => path.join(session.workspace, name);
const out = () => inWorkspace('tiny-books-4m-lq');

async function fillForm(panel: Frame): Promise<void> {
  // The form begins with the default method and a size of the file.
  expect(await panel.locator('.segments label.on').first().textContent()).toContain('Size of the file');
  await panel.getByText('From a text', { exact: true }).click();
  await field(panel, 'Calibration text').fill(inWorkspace('calibration.txt'));
  await field(panel, 'Samples').fill(RECIPE.samples);
  await field(panel, 'Evaluation text').fill(inWorkspace('evaluation.txt'));
  await field(panel, 'Context in tokens').fill(RECIPE.context);
  await field(panel, 'Windows, all when empty').fill(RECIPE.windows);
  await field(panel, 'Output folder').fill(out());
  await panel.getByText('Effective bits', { exact: true }).click();
  // Last: the panel's first field may still be setting itself up when the panel is found.
  await field(panel, 'Budget').fill(RECIPE.effectiveBits);
}

/** Share of the sweep that is done; 0 at any other stage. */
async function sweepProgress(panel: Frame): Promise<number> {
  const stage = await panel.locator('.stages [aria-current="step"]').textContent({ timeout: 5000 });
  const line = await panel.locator('.job-line').textContent({ timeout: 5000 });
  const [, done, total] = /([\d,]+) of ([\d,]+)/.exec(line ?? '') ?? [];
  if (stage !== SWEEP || done === undefined || total === undefined) return 0;
  return Number(done.replaceAll(',', '')) / Number(total.replaceAll(',', ''));
}

describe('compressing', () => {
  it('offers one form with an estimate', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Compress Checkpoint');
    const panel = await editor.panel('body[data-panel="compress"]');
    await fillForm(panel);
    await panel.locator('.estimate').getByText('Peak memory').waitFor();
    expect(await editor.violationsInEveryTheme('compress-form', panel)).toEqual([]);
  });

  it('says so when the engine dies in the middle of the sweep, and goes on from there', async () => {
    const { editor } = session;
    const panel = await editor.panel('body[data-panel="compress"]');
    await panel.getByRole('button', { name: 'Start', exact: true }).click();
    await expect.poll(() => sweepProgress(panel), { timeout: 170_000, interval: 50 }).toBeGreaterThan(0.2);
    await editor
      .statusItem()
      .getByText(/Measuring costs, matrix \d+ of 28/)
      .waitFor();
    await editor.screenshot('compress-progress');
    const engines = descendants(session.server.pid, 'dist/engine.js');
    expect(engines).toHaveLength(1);
    process.kill(engines[0]!, 'SIGKILL');
    await panel.getByText('Interrupted').first().waitFor({ timeout: 10_000 });
    await editor
      .notification(/interrupted/i)
      .first()
      .waitFor();
    await editor.screenshot('engine-died');
    await panel.getByRole('button', { name: 'Resume' }).click();
    await panel.getByRole('heading', { name: /Compressed in/ }).waitFor({ timeout: 170_000 });
    // What is looked at needs no message about it.
    expect(await editor.notification(/^Compress tiny-books-4m/).count()).toBe(0);
    expect(await editor.violationsInEveryTheme('compress-result', panel)).toEqual([]);
  });

  it('ends with what an undisturbed run writes, byte for byte', async () => {
    const undisturbed = inWorkspace('undisturbed');
    await promisify(execFile)(process.execPath, [
      path.join(repository, 'dist', 'cli.js'),
      ...['compress', inWorkspace('tiny-books-4m'), '--out', undisturbed],
      ...['--effective-bits', RECIPE.effectiveBits, '--samples', RECIPE.samples],
      ...['--calibration', inWorkspace('calibration.txt'), '--context', RECIPE.context],
      ...['--cache', inWorkspace('other-cache')],
    ]);
    const files = readdirSync(undisturbed).filter(file => file.endsWith('.safetensors'));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const same = readFileSync(path.join(undisturbed, file)).equals(readFileSync(path.join(out(), file)));
      expect(same, file).toBe(true);
    }
  });
});

describe('reading the result', () => {
  it('colours layers by role in the heatmap', async () => {
    const { editor } = session;
    const result = await editor.panel('body[data-panel="compress"]');
    await result.getByRole('button', { name: 'Heatmap' }).click();
    const panel = await editor.panel('body[data-panel="heatmap"] [role="grid"]');
    expect(await panel.getByRole('gridcell').count()).toBe(7 * 4);
    expect(await editor.violationsInEveryTheme('heatmap', panel)).toEqual([]);
  });

  it('compares it with the original: the structure at once, the values when asked', async () => {
    const { editor } = session;
    // Of the heatmap that is looked at, with the one that is chosen.
    await editor.command('LQ Studio: Compare Checkpoints');
    await editor.choose('tiny-books-4m-lq');
    const panel = await editor.panel('body[data-panel="compare"] .compare-summary');
    const fact = (label: string) => panel.locator('.compare-summary').getByText(label, { exact: true }).locator('..');
    expect(await fact('Structure').textContent()).toContain('the same');
    expect(await fact('Values compared').textContent()).toContain('not yet');
    const query = panel.getByRole('row').filter({ hasText: 'model.layers.0.self_attn.q_proj.weight' });
    const norm = panel.getByRole('row').filter({ hasText: 'model.layers.0.input_layernorm.weight' });
    await panel.getByRole('button', { name: 'Compare Values' }).click();
    await expect.poll(() => query.textContent(), { timeout: 30_000 }).toMatch(/\d %/);
    await expect.poll(() => norm.textContent()).toContain('equal');
    await expect.poll(() => fact('Values compared').textContent()).toMatch(/(\d+) of \1$/);
    expect(await fact('Largest relative error').textContent()).toMatch(/\d %/);
    expect(await editor.violationsInEveryTheme('compare', panel)).toEqual([]);
  });

  it('plans again while the budget slider moves, five times a second or more', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Show Allocation');
    const panel = await editor.panel('body[data-panel="allocation"] .readout');
    await panel.getByRole('slider', { name: 'Budget' }).focus();
    // Counted inside the panel, while a held key drags: round trips of the test are not the product's time.
    const size = panel.locator('.readout').getByText('Effective bits').locator('..');
    const watch = await size.evaluateHandle(fact => {
      const seen = { answers: 0, text: fact.textContent };
      new MutationObserver(() => {
        if (fact.textContent !== seen.text) seen.answers++;
        seen.text = fact.textContent;
      }).observe(fact, { subtree: true, childList: true, characterData: true });
      return seen;
    });
    const drag = async (key: string): Promise<number> => {
      const [start, before] = [performance.now(), await watch.evaluate(seen => seen.answers)];
      while (performance.now() - start < 3000) await editor.page.keyboard.press(key, { delay: 30 });
      return (1000 * ((await watch.evaluate(seen => seen.answers)) - before)) / (performance.now() - start);
    };
    // The best of up to four: what else the machine does can only take from it.
    let rate = 0;
    for (const key of ['ArrowRight', 'ArrowLeft', 'ArrowRight', 'ArrowLeft'])
      if (rate <= 5) rate = Math.max(rate, await drag(key));
    console.log(`slider: ${rate.toFixed(1)} plans a second`);
    expect(await editor.violationsInEveryTheme('allocation', panel)).toEqual([]);
    expect(rate).toBeGreaterThan(5);
  });

  it('shows both perplexities against effective bits', async () => {
    const { editor } = session;
    await editor.command('LQ Studio: Show Perplexity');
    const panel = await editor.panel('body[data-panel="perplexity"] canvas');
    await panel.getByRole('row').filter({ hasText: 'tiny-books-4m-lq' }).first().waitFor();
    expect(await editor.violationsInEveryTheme('perplexity', panel)).toEqual([]);
  });

  it('exports a dense checkpoint', async () => {
    const { editor } = session;
    const dense = inWorkspace('tiny-books-4m-lq-dense');
    await editor.command('View: Close All Editors');
    await editor.command('LQ Studio: Export');
    await editor.choose('tiny-books-4m-lq');
    await editor.choose('Dense safetensors');
    await editor.page.locator('.quick-input-widget input.input').fill(dense);
    await editor.page.keyboard.press('Enter');
    await expect.poll(() => existsSync(dense), { timeout: 60_000 }).toBe(true);
    expect(readdirSync(dense)).toContain('config.json');
  });
});
