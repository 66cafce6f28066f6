import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CompressView } from '../../extension/protocol/panels';
import { Harness, themes, type PanelOptions } from './harness';
import { compressHost, compressView, doneJob, failedJob, runningJob } from './hosts';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start(['compress']);
});
afterAll(() => harness.stop());

const open = (view: CompressView, options: PanelOptions = {}) => harness.open('compress', compressHost(view), options);

describe('compress panel', () => {
  it.each(themes)('has no serious accessibility violation in %s, as form, at work and done', async theme => {
    const form = await open(compressView(), { theme, height: 1000 });
    await form.page.getByText('Peak memory').waitFor();
    await form.screenshot(`compress-${theme}`);
    expect(await form.violations()).toEqual([]);
    expect(form.problems).toEqual([]);
    await form.close();
    for (const [name, job] of Object.entries({ running: runningJob, interrupted: failedJob, done: doneJob() })) {
      const panel = await open(compressView(job), { theme });
      await panel.page.locator('.job').waitFor();
      await panel.screenshot(`compress-${name}-${theme}`);
      expect(await panel.violations()).toEqual([]);
      expect(panel.problems).toEqual([]);
      await panel.close();
    }
  });

  it('counts matrices and estimates as the form changes, and starts exactly what is shown', async () => {
    const panel = await open(compressView());
    await panel.page.getByText('28 of 28 matrices').waitFor();
    await panel.page.getByRole('textbox', { name: 'Except these matrices' }).fill('*.q_proj.*, *.k_proj.*');
    await panel.page.getByText('20 of 28 matrices').waitFor();
    await panel.page.getByRole('textbox', { name: 'Rank' }).fill('16');
    await panel.page.getByText('Nothing', { exact: true }).click();
    await expect
      .poll(() => panel.asked.filter(([method]) => method === 'estimate').at(-1)?.[1])
      .toMatchObject({
        rank: 16,
        plain: true,
        exclude: ['*.q_proj.*', '*.k_proj.*'],
      });
    await panel.page.getByRole('button', { name: 'Start' }).click();
    await panel.page.getByText('Compressing').waitFor();
    const started = panel.asked.find(([method]) => method === 'start')?.[1];
    expect(started).toEqual({
      model: '/models/tiny-books-4m',
      out: '/models/tiny-books-4m-lq-2.75',
      budget: { kind: 'bits', value: 2.75 },
      factors: 'nf8',
      format: 'packed',
      device: 'auto',
      scales: 'sqrt-of-means',
      rank: 16,
      plain: true,
      evalText: '/data/eval.txt',
      context: 512,
      exclude: ['*.q_proj.*', '*.k_proj.*'],
    });
    await panel.close();
  });

  it('says what is wrong beside the field and does not start', async () => {
    const panel = await open(compressView());
    const start = panel.page.locator('vscode-button', { hasText: 'Start' });
    const rank = panel.page.getByRole('textbox', { name: 'Rank' });
    await rank.fill('eight');
    await panel.page.getByText('A whole number, 0 or more').waitFor();
    await expect.poll(() => start.getAttribute('disabled')).not.toBeNull();
    await start.click({ force: true });
    expect(panel.asked.some(([method]) => method === 'start')).toBe(false);
    await rank.fill('8');
    await panel.page.getByText('Held fixed').waitFor();
    await expect.poll(() => start.getAttribute('disabled')).toBeNull();
    await panel.page.getByRole('textbox', { name: 'Budget' }).fill('1.5');
    await panel.page.locator('.estimate .bad').getByText('Possible: 2.03 to 4.38 bits').waitFor();
    await panel.close();
  });

  it('follows a job that the host runs: progress, interruption, resume, result', async () => {
    const panel = await open(compressView(runningJob));
    const bar = panel.page.getByRole('progressbar');
    expect(await bar.getAttribute('aria-valuenow')).toBe('61');
    panel.host.emit('job', {
      ...runningJob,
      progress: { stage: 'decompose', done: 7, total: 28, item: 'model.x', secondsLeft: 3 },
    });
    await panel.page.getByText('7 of 28').waitFor();
    await panel.page.getByRole('button', { name: 'Cancel' }).click();
    expect(panel.asked.at(-1)).toEqual(['cancel', { job: 'job-1' }]);
    panel.host.emit('job', failedJob);
    await panel.page.getByText('The engine ended with signal SIGKILL').waitFor();
    await panel.page.getByRole('button', { name: 'Resume' }).click();
    await panel.page.getByText('Compressing').waitFor();
    panel.host.emit('job', doneJob());
    await panel.page.getByText('Compressed in 2 min').waitFor();
    await panel.page.getByRole('button', { name: 'Compare' }).click();
    expect(panel.asked.at(-1)).toEqual([
      'navigate',
      { to: 'compare', model: '/models/tiny-books-4m', other: '/models/tiny-books-4m-lq-2.75' },
    ]);
    await panel.page.getByRole('button', { name: 'Export the matrices' }).click();
    await panel.page.getByRole('menuitem', { name: 'Save as CSV…' }).click();
    const [, saved] = panel.asked.at(-1)! as [string, { name: string; data: string }];
    expect(saved.data.split('\r\n')).toHaveLength(28 + 2);
    expect(saved.data).toMatch(/^Matrix,Configuration,Rank,Bits/);
    await panel.close();
  });
});
