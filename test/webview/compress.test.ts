import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LqError } from '../../extension/core/errors';
import type { EstimateReport } from '../../extension/core/reports';
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
    expect(await form.spilled()).toEqual([]);
    expect(form.problems).toEqual([]);
    await form.close();
    for (const [name, job] of Object.entries({ running: runningJob, interrupted: failedJob, done: doneJob() })) {
      const panel = await open({ ...compressView(job), show: { job: job.id } }, { theme });
      await panel.page.locator('.job').waitFor();
      await panel.screenshot(`compress-${name}-${theme}`);
      expect(await panel.violations()).toEqual([]);
      expect(await panel.spilled()).toEqual([]);
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
    await panel.page.getByText('All weights alike', { exact: true }).click();
    await expect
      .poll(() => panel.asked.filter(([method]) => method === 'estimate').at(-1)?.[1])
      .toMatchObject({
        ranks: [16],
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
      for: 'packed',
      device: 'auto',
      scales: 'sqrt-of-means',
      method: 'lq-lora',
      ranks: [16],
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
    await panel.page.getByText('Whole numbers, 0 or more').waitFor();
    await expect.poll(() => start.getAttribute('disabled')).not.toBeNull();
    await start.click({ force: true });
    expect(panel.asked.some(([method]) => method === 'start')).toBe(false);
    await rank.fill('8');
    await panel.page.getByText('Counted as').waitFor();
    await expect.poll(() => start.getAttribute('disabled')).toBeNull();
    await panel.page.getByRole('textbox', { name: 'Budget' }).fill('1.5');
    await panel.page.locator('.estimate .bad').getByText('Possible: 2.03 to 4.38 bits').waitFor();
    await panel.close();
  });

  it('asks how large it may be first, in one unit, and says the same size when the unit changes', async () => {
    const panel = await open(compressView());
    const titles = () => panel.page.locator('.compress-form .group h2').allTextContents();
    expect((await titles()).slice(0, 3)).toEqual(['How large may it be', 'Where will it run', 'Method']);
    const budget = panel.page.getByRole('textbox', { name: 'Budget' });
    await panel.page.getByText('Peak memory').waitFor();
    await panel.page.getByText('Size of the file', { exact: true }).click();
    await expect.poll(() => budget.inputValue()).toBe('3.2');
    const size = panel.page.getByRole('region', { name: 'How large may it be' });
    expect(await size.textContent()).toContain('The original takes 7.9');
    expect(await size.locator('.field-label').allTextContents()).toEqual(['Counted as', 'MB']);
    await panel.page.getByText(/Possible: 2\.9 MB to 3\.9 MB/).waitFor();
    await panel.page.getByText('Effective bits', { exact: true }).click();
    await expect.poll(() => budget.inputValue()).toBe('3.17');
    await panel.close();
  });

  it('offers for each program the methods that make what it reads, and says before what does not fit', async () => {
    const panel = await open(compressView());
    const where = panel.page.getByRole('region', { name: 'Where will it run' });
    await where.locator('vscode-dropdown').click();
    await where.getByRole('option', { name: /llama\.cpp, Ollama/ }).click();
    await panel.page.getByRole('region', { name: 'Method' }).getByText('GGUF block types').waitFor();
    expect(await panel.page.getByRole('textbox', { name: 'Rank' }).count()).toBe(0);
    await panel.page.locator('.estimate').getByText('256 does not divide').waitFor();
    const part = where.getByRole('textbox', { name: 'Size of a part' });
    await part.fill('-1');
    await where.getByText('A number above 0').waitFor();
    await part.fill('1.5');
    await expect
      .poll(() => panel.asked.filter(([method]) => method === 'estimate').at(-1)?.[1])
      .toMatchObject({ for: 'gguf', splitSize: 1_500_000 });
    await panel.page.getByRole('button', { name: 'Start' }).click();
    await expect
      .poll(() => panel.asked.find(([method]) => method === 'start')?.[1])
      .toMatchObject({ for: 'gguf', method: 'gguf', splitSize: 1_500_000 });
    await panel.close();
  });

  it('says at the patterns that they leave nothing, and at the weighting that a method needs a text', async () => {
    const view = compressView();
    const panel = await harness.open('compress', {
      ...compressHost(view),
      estimate: request => {
        if (request.include) throw new LqError('no-targets', 'No matrix matches *.nothing.*.');
        return compressHost(view).estimate(request, {
          signal: new AbortController().signal,
          progress: () => undefined,
        });
      },
    });
    await panel.page.getByRole('textbox', { name: 'Only these matrices' }).fill('*.nothing.*');
    await panel.page.getByRole('region', { name: 'Matrices' }).getByRole('alert').waitFor();
    expect(await panel.page.locator('vscode-button', { hasText: 'Start' }).getAttribute('disabled')).not.toBeNull();
    await panel.page.getByRole('textbox', { name: 'Only these matrices' }).fill('');
    const method = panel.page.getByRole('region', { name: 'Method' });
    await method.locator('vscode-dropdown').first().click();
    await method.getByRole('option', { name: 'GPTQ' }).click();
    await panel.page.getByText('All weights alike').click();
    await panel.page.getByRole('alert').getByText('GPTQ needs a text').waitFor();
    await panel.close();
  });

  it('follows a job that the host runs: progress, interruption, resume, result', async () => {
    const panel = await open(compressView(runningJob));
    const bar = panel.page.getByRole('progressbar');
    expect(await bar.getAttribute('aria-valuenow')).toBe('61');
    await panel.page.getByText('Measuring costs, matrix 17 of 28').waitFor();
    await panel.page.getByRole('timer').getByText('34 s left').waitFor();
    const whole = { ...runningJob.progress!.whole!, at: 3, share: 0.9, secondsLeft: 3 };
    panel.host.emit('job', {
      ...runningJob,
      progress: { stage: 'decompose', done: 7, total: 28, item: 'model.x', whole },
    });
    await panel.page.getByText('Decomposing, matrix 8 of 28').waitFor();
    expect(await bar.getAttribute('aria-valuenow')).toBe('90');
    // The baseline was an evaluation too, and the one at the end is still to come.
    expect(
      await panel.page.locator('.stages li').evaluateAll(all => all.map(one => one.getAttribute('class'))),
    ).toEqual([...['done', 'done', 'done', 'now', 'next']]);
    await panel.page.getByRole('button', { name: 'Cancel' }).click();
    expect(panel.asked.at(-1)).toEqual(['cancelJob', { job: 'job-1' }]);
    panel.host.emit('job', failedJob);
    await panel.page.getByText('The engine ended with signal SIGKILL').waitFor();
    await panel.page.getByRole('button', { name: 'Resume' }).click();
    expect(panel.asked.at(-1)).toEqual(['resumeJob', { job: 'job-1' }]);
    panel.host.emit('job', runningJob);
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
    expect(saved.data).toMatch(/^Matrix,Option,Rank,Bits/);
    await panel.close();
  });

  it('begins the form with a plan that is handed on, though the checkpoint was compressed before', async () => {
    const view = compressView(doneJob());
    const overrides = [{ match: '*.v_proj.weight', minBits: 4 }];
    const planned = { ...view.form, budget: { kind: 'bits' as const, value: 3.25 }, overrides };
    const panel = await open({ ...view, form: planned, show: { form: planned } });
    const budget = panel.page.getByRole('textbox', { name: 'Budget' });
    await expect.poll(() => budget.inputValue()).toBe('3.25');
    await panel.page.getByText('*.v_proj.weight ≥ 4').waitFor();
    // The result is one click away, and a new compression from there has the plan again.
    await panel.page.getByRole('region', { name: 'Earlier compressions' }).getByRole('button').click();
    await panel.page.getByText('Compressed in 2 min').waitFor();
    panel.host.emit('show', { form: { ...planned, budget: { kind: 'bits', value: 3.5 } } });
    await expect.poll(() => budget.inputValue()).toBe('3.5');
    await panel.close();
  });

  it('shows the job that is asked for, not another of the same checkpoint', async () => {
    const first = {
      ...doneJob(),
      id: 'first',
      request: { ...doneJob().request, budget: { kind: 'bits' as const, value: 3 } },
    };
    const failed = {
      ...failedJob,
      id: 'failed',
      state: 'failed' as const,
      resumable: false,
      error: { code: 'output-exists' as const, message: 'The folder exists already.' },
    };
    const panel = await open({ ...compressView(failed, first), show: { job: 'first' } });
    await panel.page.getByText('Compressed in 2 min').waitFor();
    panel.host.emit('show', { job: 'failed' });
    await panel.page.getByText('The folder exists already.').waitFor();
    // Asking for the same again cannot help here.
    expect(await panel.page.getByRole('button', { name: 'Resume' }).count()).toBe(0);
    await panel.page.getByRole('button', { name: 'Remove' }).click();
    expect(panel.asked.at(-1)).toEqual(['removeJob', { job: 'failed' }]);
    panel.host.emit('changed', compressView(first));
    await panel.page.getByText('Counted as').waitFor();
    await panel.close();
  });

  it('goes through one compression by keyboard alone', async () => {
    const panel = await open(compressView());
    const { page } = panel;
    await page.getByText('Peak memory').waitFor();
    /** Goes on with Tab until the element with a name has the focus. */
    const reach = async (name: RegExp): Promise<void> => {
      for (let step = 0; step < 80; step++) {
        await page.keyboard.press('Tab');
        const focused = await page.evaluate(() => {
          let element: Element | null = document.activeElement;
          while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
          const host = document.activeElement;
          const label = element?.closest('label')?.textContent;
          const names = [element, host].map(each => each?.getAttribute('aria-label') ?? each?.textContent ?? '');
          return [label ?? '', ...names].join('|');
        });
        if (name.test(focused)) return;
      }
      throw new Error(`${name} is not reached by Tab`);
    };
    await reach(/Bits(\||$)/);
    await page.keyboard.press('ArrowLeft');
    await expect.poll(() => page.locator('.segments label.on').first().textContent()).toContain('Effective bits');
    await reach(/^\|?.*Budget/);
    await page.keyboard.press('Control+a');
    await page.keyboard.type('3.25');
    await reach(/Options|LQ-LoRA/);
    await page.keyboard.press('ArrowUp');
    await expect
      .poll(() => panel.asked.filter(([method]) => method === 'estimate').at(-1)?.[1])
      .toMatchObject({ method: 'frontier', budget: { kind: 'effective-bits', value: 3.25 } });
    // The button stands before the form: backwards is the short way.
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
    await reach(/(^|\|)Start(\||$)/);
    await expect.poll(() => page.locator('vscode-button', { hasText: 'Start' }).getAttribute('disabled')).toBeNull();
    await page.keyboard.press('Enter');
    await page.getByText('Compressing').waitFor();
    expect(panel.asked.find(([method]) => method === 'start')?.[1]).toMatchObject({
      method: 'frontier',
      budget: { kind: 'effective-bits', value: 3.25 },
    });
    panel.host.emit('job', doneJob());
    await page.getByText('Compressed in 2 min').waitFor();
    await reach(/Open Result/);
    await page.keyboard.press('Enter');
    await expect.poll(() => panel.asked.at(-1)?.[0]).toBe('navigate');
    await panel.close();
  });

  it('takes a failure off the page once something is done about it', async () => {
    const handlers = compressHost(compressView());
    const panel = await harness.open('compress', {
      ...handlers,
      start: () => Promise.reject(new LqError('usage', 'Another job writes there.')),
    });
    await panel.page.getByText('Peak memory').waitFor();
    await panel.page.getByRole('button', { name: 'Start' }).click();
    const notice = panel.page.locator('.notice', { hasText: 'Another job writes there.' });
    await notice.waitFor();
    await panel.page.waitForTimeout(400);
    await panel.page.getByRole('textbox', { name: 'Output folder' }).fill('/models/elsewhere');
    await expect.poll(() => notice.count()).toBe(0);
    await panel.close();
  });

  it('compresses embedding and head where they can be and are asked for', async () => {
    const panel = await open(compressView());
    const { page } = panel;
    const last = () => panel.asked.filter(([method]) => method === 'estimate').at(-1)?.[1];
    const box = page.getByRole('checkbox', { name: 'Embedding and head too' });
    await box.waitFor();
    await expect.poll(last).not.toHaveProperty('embeddings');
    await box.click();
    await expect.poll(last).toHaveProperty('embeddings', true);
    const program = page.getByRole('region', { name: 'Where will it run' });
    await program.locator('vscode-dropdown').click();
    await program.getByRole('option', { name: /GGUF/ }).click();
    await expect.poll(() => box.count()).toBe(0);
    await expect.poll(last).toMatchObject({ for: 'gguf' });
    expect(last()).not.toHaveProperty('embeddings');
    await panel.close();
  });

  it('says which programs will load it before, and after the job how to load it', async () => {
    const panel = await open(compressView());
    const estimate = panel.page.getByRole('complementary', { name: 'Estimate' });
    await estimate.getByText('Will it load?').waitFor();
    expect(await estimate.getByRole('row', { name: /^LQ Studio/ }).textContent()).toContain('yes');
    await panel.close();
    const job = doneJob();
    const done = await open({ ...compressView(job), show: { job: job.id } });
    const written = done.page.getByRole('region', { name: 'What was written' });
    await written.waitFor();
    expect(await written.textContent()).toContain('All 39 weights read back');
    expect(await written.getByRole('row', { name: /^transformers/ }).textContent()).toContain(
      'no: it has no loader for this layout',
    );
    await written.getByRole('button', { name: 'Copy' }).click();
    await expect
      .poll(() => done.asked.find(([method]) => method === 'copy')?.[1])
      .toEqual({ text: 'lq-studio eval . --text eval.txt' });
    await done.close();
  });

  it('starts once at a double click', async () => {
    let answer: () => void = () => undefined;
    const view = compressView();
    const handlers = compressHost(view);
    const panel = await harness.open('compress', {
      ...handlers,
      start: request => new Promise(resolve => (answer = () => resolve({ ...runningJob, request }))),
    });
    await panel.page.getByText('Peak memory').waitFor();
    await panel.page.getByRole('button', { name: 'Start' }).dblclick();
    answer();
    await panel.page.getByText('Compressing').waitFor();
    expect(panel.asked.filter(([method]) => method === 'start')).toHaveLength(1);
    await panel.close();
  });

  it('keeps what was typed while another tab was looked at', async () => {
    const panel = await open(compressView());
    await panel.page.getByRole('textbox', { name: 'Rank' }).fill('12');
    const state: unknown = await panel.page.evaluate(() => (window as unknown as { __state: unknown }).__state);
    await panel.close();
    const again = await open(compressView(), { state });
    await expect.poll(() => again.page.getByRole('textbox', { name: 'Rank' }).inputValue()).toBe('12');
    await again.close();
  });

  it('shows beside the field what would fail later, starts nothing, and offers a free name for a folder that is taken', async () => {
    const view = compressView();
    const handlers = compressHost(view);
    const panel = await harness.open('compress', {
      ...handlers,
      estimate: async request => {
        const estimate = await handlers.estimate(request, {
          signal: new AbortController().signal,
          progress: () => undefined,
        });
        const problems: EstimateReport['problems'] = [];
        if (request.calibration) {
          problems.push({
            field: 'calibration',
            code: 'text-too-short',
            message: 'calib.txt has 900 tokens; 64 windows need 32,768.',
          });
        }
        if (!request.out.endsWith('-2')) {
          problems.push({
            field: 'out',
            code: 'output-exists',
            message: 'It exists already.',
            suggestion: '/models/free-2',
          });
        }
        return { ...estimate, problems };
      },
    });
    const start = panel.page.locator('vscode-button', { hasText: 'Start' });
    await panel.page.getByRole('alert').getByText('calib.txt has 900 tokens').waitFor();
    await panel.page.getByRole('alert').getByText('It exists already.').waitFor();
    expect(await start.getAttribute('disabled')).not.toBeNull();
    await panel.page.getByRole('button', { name: 'Use free-2' }).click();
    await panel.page.getByText('All weights alike').click();
    await expect.poll(() => start.getAttribute('disabled')).toBeNull();
    await panel.page.getByRole('button', { name: 'Start' }).click();
    await expect
      .poll(() => panel.asked.find(([method]) => method === 'start')?.[1])
      .toMatchObject({ out: '/models/free-2', plain: true });
    await panel.close();
  });
});
