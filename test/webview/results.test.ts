import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Harness, themes } from './harness';
import { comparedTensors, compareHost, perplexityHost, perplexityView, sweepJob } from './hosts';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start(['perplexity', 'compare']);
});
afterAll(() => harness.stop());

describe('perplexity panel', () => {
  const open = (view = perplexityView(), options = {}) => harness.open('perplexity', perplexityHost(view), options);

  it.each(themes)('has no serious accessibility violation in %s', async theme => {
    const panel = await open(perplexityView(), { theme, height: 900 });
    await panel.page.getByRole('grid', { name: 'Runs' }).locator('.grid-row').nth(4).click();
    await panel.page.getByRole('img').waitFor();
    await panel.screenshot(`perplexity-${theme}`);
    expect(await panel.violations()).toEqual([]);
    expect(await panel.spilled()).toEqual([]);
    expect(panel.problems).toEqual([]);
    await panel.close();
  });

  it('shows a run with its recipe and copies the command that makes it again', async () => {
    const panel = await open();
    await panel.page.getByText('2.75 bits, Fisher').click();
    const recipe = panel.page.getByRole('region', { name: 'Recipe' });
    expect(await recipe.textContent()).toContain('64 × 512 tokens');
    expect(await recipe.textContent()).toMatch(/KL to the original0\.1891Same likeliest token73\.8 %/);
    await recipe.getByRole('button', { name: 'Copy Recipe as Command' }).click();
    expect(panel.asked.at(-1)).toMatchObject([
      'copyCommand',
      { command: 'compress', request: { budget: { value: 2.75 } } },
    ]);
    await panel.page.getByText('Copied: lq-studio compress').waitFor();
    await panel.close();
  });

  it('leaves short names in one piece', async () => {
    const panel = await open();
    const row = panel.page.getByRole('row', { name: /2\.75 bits, Fisher/ });
    await row.waitFor();
    expect(await row.locator('.name-head').count()).toBe(0);
    await panel.close();
  });

  it('groups runs by their weighting, and opens what a date or a path of a recipe names', async () => {
    const panel = await open();
    const figure = panel.page.getByRole('region', { name: 'Perplexity against effective bits' });
    expect(await figure.locator('.key').allTextContents()).toEqual([
      'weighted by Fisher information',
      'unweighted',
      'selected',
      'dense model',
    ]);
    await panel.page.getByText('2.75 bits, Fisher').click();
    await panel.page
      .getByRole('region', { name: 'Recipe' })
      .getByRole('button', { name: /calib\.txt/ })
      .click();
    expect(panel.asked.at(-1)).toEqual(['openPath', { path: '/data/calib.txt' }]);
    await panel.page
      .getByRole('row', { name: /2\.75 bits, Fisher/ })
      .getByRole('button')
      .click();
    expect(panel.asked.at(-1)).toEqual(['navigate', { to: 'explorer', model: '/models/tiny-books-4m-lq-2.75' }]);
    await panel.page.getByRole('button', { name: 'Export the runs' }).click();
    await panel.page.getByRole('menuitem', { name: 'Copy as Markdown' }).click();
    const [, copied] = panel.asked.at(-1)! as [string, { text: string }];
    expect(copied.text.split('\n')[2]).toMatch(/^\| 2\.25 bits, Fisher \| 2\.67 \|/);
    await panel.close();
  });

  it('evaluates on a text of the user’s own and adds the run', async () => {
    const panel = await open({ ...perplexityView(), runs: [] });
    await panel.page.getByText('Nothing has been evaluated yet').waitFor();
    await panel.page.getByRole('button', { name: 'Browse…' }).click();
    await expect
      .poll(() => panel.page.locator('vscode-text-field').first().locator('input').inputValue())
      .toBe('/data/evaluation.txt');
    await panel.close();

    const full = await open();
    await full.page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await expect.poll(() => full.asked.some(([method]) => method === 'evaluate')).toBe(true);
    const job = { ...sweepJob, id: 'new', method: 'evaluate' as const, title: 'Evaluate tiny-books-4m' };
    full.host.emit('jobs', [{ ...job, progress: { stage: 'evaluate', done: 30, total: 371 } }]);
    await full.page.getByText('Evaluating, window 31 of 371').waitFor();
    const view = perplexityView();
    full.host.emit('jobs', []);
    full.host.emit('changed', { ...view, runs: [{ ...view.runs[3]!, id: 'new', label: 'new run' }, ...view.runs] });
    await full.page.getByText('new run: perplexity').waitFor();
    expect(await full.page.getByRole('region', { name: 'Recipe' }).textContent()).toContain('new run');
    expect(full.asked.find(([method]) => method === 'evaluate')?.[1]).toEqual({
      model: '/models/tiny-books-4m',
      text: '/data/eval.txt',
      context: 512,
    });
    expect(await full.page.getByRole('grid', { name: 'Runs' }).getAttribute('aria-rowcount')).toBe('15');
    await full.close();
  });
});

describe('compare panel', () => {
  const open = (chosen: boolean, options = {}) => harness.open('compare', compareHost(chosen), options);

  it.each(themes)('has no serious accessibility violation in %s', async theme => {
    const panel = await open(true, { theme });
    await panel.page.getByRole('button', { name: 'Compare Values' }).click();
    panel.host.emit('tensors', comparedTensors());
    await panel.page.getByText('28 of 28').waitFor();
    await panel.screenshot(`compare-${theme}`);
    expect(await panel.violations()).toEqual([]);
    expect(await panel.spilled()).toEqual([]);
    expect(panel.problems).toEqual([]);
    await panel.close();
  });

  it('compares again once the files of a side have changed', async () => {
    const panel = await open(true);
    await panel.page.getByRole('button', { name: 'Compare Values' }).waitFor();
    panel.host.emit('tensors', comparedTensors());
    await panel.page.getByText('28 of 28').waitFor();
    const view = await compareHost(true).load(null, {
      signal: new AbortController().signal,
      progress: () => undefined,
    });
    panel.host.emit('changed', { ...view, b: { ...view.b!, version: '2' } });
    await panel.page.getByText('not yet').waitFor();
    expect(panel.asked.filter(([method]) => method === 'structure')).toHaveLength(2);
    await panel.close();
  });

  it('keeps the errors in sight where the panel is narrow', async () => {
    const panel = await open(true, { width: 720 });
    await panel.page.getByRole('columnheader', { name: 'Relative error' }).waitFor();
    const grid = panel.page.getByRole('grid');
    expect(await grid.evaluate(element => element.scrollWidth <= element.clientWidth)).toBe(true);
    await panel.close();
  });

  it('asks for what is missing, shows structure, then values on demand', async () => {
    const panel = await open(false);
    await panel.page.getByText('Choose two checkpoints').waitFor();
    await panel.page.locator('.empty').getByRole('button').click();
    await panel.page.getByRole('tab', { name: /Only in A/ }).click();
    await panel.page.getByText('rotary_emb.inv_freq').waitFor();
    expect(panel.asked.some(([method]) => method === 'values')).toBe(false);
    await panel.page.getByRole('tab', { name: /In both/ }).click();
    await panel.page.getByRole('button', { name: 'Compare Values' }).click();
    await expect.poll(() => panel.asked.some(([method]) => method === 'values')).toBe(true);
    // A job of the host: its pieces come as they are found, whoever asked for it.
    const job = { ...sweepJob, id: 'compare-1', method: 'compare' as const, other: '/models/tiny-books-4m-lq-2.75' };
    panel.host.emit('jobs', [{ ...job, progress: { stage: 'compare', done: 4, total: 28 } }]);
    await panel.page.getByText(/tensor 5 of 28/).waitFor();
    panel.host.emit('tensors', comparedTensors());
    panel.host.emit('jobs', []);
    await panel.page.getByText('equal', { exact: true }).waitFor();
    const state = await panel.page.evaluate(() => (window as unknown as { __state: unknown }).__state);
    expect(state).toMatchObject({ target: { model: '/models/tiny-books-4m', other: '/models/tiny-books-4m-lq-2.75' } });
    await panel.close();
  });
});
