import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PlanQuery } from '../../extension/protocol/panels';
import { llama70, tiny } from './fixtures';
import type { Architecture } from './fixtures';
import { Harness, themes, type PanelOptions } from './harness';
import { allocationHost, allocationView, predictingView, runningJob, sweepJob } from './hosts';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start(['allocation']);
});
afterAll(() => harness.stop());

const open = (a: Architecture, options: PanelOptions = {}, view = allocationView(a)) =>
  harness.open('allocation', allocationHost(a, view), { height: 900, ...options });

describe('allocation panel', () => {
  it.each(themes)('has no serious accessibility violation in %s', async theme => {
    for (const [name, architecture] of Object.entries({ small: tiny, large: llama70 })) {
      const panel = await open(architecture, { theme });
      await panel.page.getByText('optimal').waitFor();
      await panel.screenshot(`allocation-${name}-${theme}`);
      expect(await panel.violations()).toEqual([]);
      expect(await panel.spilled()).toEqual([]);
      expect(panel.problems).toEqual([]);
      await panel.close();
    }
  });

  it('plans while the slider moves, with time left at five plans a second, and solves to the end when it rests', async () => {
    const panel = await open(llama70);
    const slider = panel.page.getByRole('slider', { name: 'Budget' });
    await panel.page.getByText('optimal').waitFor();
    const before = await panel.page.locator('.readout').textContent();
    panel.asked.length = 0;
    const workBefore = await panel.work();
    await slider.evaluate(async element => {
      const input = element as HTMLInputElement;
      for (let step = 0; step < 20; step++) {
        input.valueAsNumber = 2.2 + step * 0.1;
        input.dispatchEvent(new Event('input', { bubbles: true }));
        await new Promise(resolve => setTimeout(resolve, 50));
      }
    });
    const quick = panel.asked.filter(([, query]) => (query as { quick?: boolean }).quick);
    expect(quick.length).toBeGreaterThan(1);
    expect(((await panel.work()) - workBefore) / quick.length).toBeLessThan(200);
    expect(await panel.page.locator('.readout').textContent()).not.toBe(before);
    // On a machine that stutters the slider may seem to rest on its way; the last plan is the whole one all the same.
    await expect
      .poll(() => panel.asked.filter(([method]) => method === 'plan').at(-1)?.[1])
      .toMatchObject({ quick: false, budget: { value: 4.1 } });
    expect(await slider.getAttribute('aria-valuetext')).toBe('4.10 bits per weight');
    await slider.focus();
    await panel.page.keyboard.press('ArrowLeft');
    await expect.poll(() => slider.getAttribute('aria-valuetext')).toBe('4.09 bits per weight');
    await panel.close();
  });

  it('shows the whole plan, not a quick one that came after it', async () => {
    const view = allocationView(tiny);
    const host = allocationHost(tiny, view);
    const slow = {
      ...host,
      // A quick plan takes longer than the slider rests before the whole one is asked for.
      plan: async (query: Parameters<typeof host.plan>[0], context: Parameters<typeof host.plan>[1]) => {
        if (query.quick) await new Promise(resolve => setTimeout(resolve, 700));
        return host.plan(query, context);
      },
    };
    const panel = await harness.open('allocation', slow, { height: 900 });
    const slider = panel.page.getByRole('slider', { name: 'Budget' });
    await panel.page.getByText('optimal').waitFor();
    panel.asked.length = 0;
    await slider.focus();
    await panel.page.keyboard.press('ArrowLeft');
    await panel.page.keyboard.press('ArrowLeft');
    await expect
      .poll(() => panel.asked.some(([, query]) => (query as PlanQuery & { quick?: boolean }).quick === false))
      .toBe(true);
    await panel.page.waitForTimeout(1600);
    expect((panel.asked.at(-1)?.[1] as { quick?: boolean }).quick).toBe(false);
    expect(await panel.page.getByText('optimal').isVisible()).toBe(true);
    await panel.close();
  });

  it.each([1400, 900])('predicts the perplexity of the plan under the slider, %i pixels wide', async width => {
    const view = predictingView(tiny);
    const panel = await open(tiny, { width }, view);
    const { page } = panel;
    const fact = page.locator('.readout').getByText('Predicted perplexity').locator('..');
    const figures = async () => (await fact.innerText()).match(/[\d.]+/g)!.map(Number);
    await page.getByText('optimal').waitFor();
    const [at, low, high] = await figures();
    expect(low!).toBeLessThanOrEqual(at!);
    expect(at!).toBeLessThanOrEqual(high!);
    await page.getByRole('slider', { name: 'Budget' }).focus();
    await page.keyboard.press('Home');
    await expect.poll(async () => (await figures())[0]!).toBeGreaterThan(at!);
    const figure = page.getByRole('region', { name: 'Perplexity against size' });
    expect(await figure.textContent()).toContain('On eval.txt; the original has 20.58.');
    await panel.screenshot(`allocation-predicted-${width}`);
    expect(await panel.violations()).toEqual([]);
    expect(await panel.spilled()).toEqual([]);
    await panel.close();
  });

  it('pins a matrix, plans again under the rule, and hands the plan on with it', async () => {
    const panel = await open(tiny);
    await panel.page.getByText('optimal').waitFor();
    await panel.page.getByRole('textbox', { name: 'Filter matrices' }).fill('layers.2 q_proj');
    const row = panel.page.locator('.grid-body .grid-row').first();
    await row.click();
    expect(await row.textContent()).not.toContain('NF4');
    await row.getByRole('button', { name: /^Never below 4 bits/ }).click();
    await expect.poll(() => row.textContent()).toContain('NF4');
    expect(await panel.page.getByRole('list', { name: 'Rules in force' }).textContent()).toContain(
      'never below 4 bits',
    );
    await panel.page.getByRole('button', { name: 'Use This Plan' }).click();
    const used = panel.asked.find(([method]) => method === 'use')?.[1] as PlanQuery;
    expect(used.overrides).toEqual([{ match: 'model.layers.2.self_attn.q_proj.weight', minBits: 4 }]);
    await panel.page.getByRole('button', { name: /^Remove the rule/ }).click();
    await expect.poll(() => row.textContent()).not.toContain('NF4');
    await panel.close();
  });

  it('shows what other ranks would give, goes on from the plan that is clicked, and measures one more rank', async () => {
    const panel = await open(tiny);
    const table = panel.page.getByRole('region', { name: 'What if' });
    await table.getByRole('button', { name: /^LQ-LoRA, rank 8 at 3\.25 bits/ }).click();
    await expect.poll(async () => Number(await panel.page.getByRole('slider').inputValue())).toBeCloseTo(3.25, 1);
    expect(panel.asked.some(([method]) => method === 'choose')).toBe(false);
    // The least budget cannot be met at the higher rank.
    expect(await table.getByRole('button', { name: /^LQ-LoRA, rank 16 at 2\.25 bits/ }).count()).toBe(0);
    await panel.page.getByRole('textbox', { name: 'Matrices the rule is for' }).fill('*.v_proj.weight');
    await panel.page.getByRole('button', { name: 'Add Rule' }).click();
    await table.getByRole('button', { name: /^LQ-LoRA, rank 16 at 3\.00 bits/ }).click();
    await expect
      .poll(() => panel.asked.find(([method]) => method === 'choose')?.[1])
      .toMatchObject({ file: '/storage/sweeps/more.json', budget: { kind: 'bits' } });
    await expect.poll(() => panel.asked.filter(([method]) => method === 'curve').length).toBeGreaterThan(1);
    expect(await panel.page.getByRole('list', { name: 'Rules in force' }).textContent()).toContain('*.v_proj.weight');
    await table.getByRole('textbox', { name: 'Another rank' }).fill('24');
    await table.getByRole('button', { name: 'Measure Rank' }).click();
    await expect
      .poll(() => panel.asked.find(([method]) => method === 'sweep')?.[1])
      .toMatchObject({
        model: '/models/tiny-books-4m',
        ranks: [24],
        scales: 'sqrt-of-means',
        fisher: '/cache/fisher.safetensors',
      });
    await panel.close();
  });

  it('lets no figure of the plan lie over another where the panel is narrow', async () => {
    const panel = await open(tiny, { width: 720 });
    await panel.page.getByText('optimal', { exact: true }).waitFor();
    const boxes = await panel.page
      .locator('.readout dd')
      .evaluateAll(all => all.map(one => one.getBoundingClientRect().toJSON() as DOMRect));
    expect(boxes).toHaveLength(6);
    for (const [index, a] of boxes.entries())
      for (const b of boxes.slice(index + 1)) {
        const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        expect(apart).toBe(true);
      }
    expect(Math.max(...boxes.map(({ right }) => right))).toBeLessThanOrEqual(720);
    await panel.close();
  });

  it('opens the table of costs from its date, and copies the plan with it as a command line', async () => {
    const panel = await open(tiny);
    await panel.page.getByText('optimal', { exact: true }).waitFor();
    await panel.page.getByRole('button', { name: 'May 12, 2026' }).click();
    expect(panel.asked.at(-1)).toEqual(['openPath', { path: '/storage/sweeps/tiny.json' }]);
    await panel.page.getByRole('button', { name: 'More actions' }).click();
    await panel.page.getByRole('menuitem', { name: 'Copy as Command Line' }).click();
    expect(panel.asked.at(-1)).toMatchObject([
      'copyCommand',
      { command: 'plan', request: { sweep: '/storage/sweeps/tiny.json' } },
    ]);
    await panel.close();
  });

  it('takes a typed budget within what is possible, in bits or megabytes', async () => {
    const panel = await open(tiny);
    await panel.page.getByText('optimal').waitFor();
    const field = () => panel.page.getByRole('textbox', { name: /^Budget/ });
    await field().fill('9');
    await field().press('Enter');
    await expect.poll(() => field().inputValue()).toBe('2.750');
    expect(await panel.page.getByRole('slider').inputValue()).toBe('2.75');
    await field().fill('3.25');
    await field().press('Enter');
    await expect.poll(() => panel.page.getByRole('slider').inputValue()).toBe('3.25');
    await panel.page.locator('.segments label', { hasText: 'Size' }).click();
    await expect.poll(async () => Number(await panel.page.getByRole('slider').inputValue())).toBeGreaterThan(1e6);
    await panel.close();
  });

  it('offers to measure costs where there are none', async () => {
    const { sweep: _none, ...view } = allocationView(tiny);
    const panel = await open(tiny, {}, view);
    await panel.page.getByText('No costs have been measured yet').waitFor();
    expect(await panel.violations()).toEqual([]);
    expect(await panel.spilled()).toEqual([]);
    await panel.page.getByRole('button', { name: 'Measure Costs' }).click();
    expect(panel.asked.find(([method]) => method === 'sweep')?.[1]).toMatchObject({
      model: '/models/tiny-books-4m',
      plain: true,
    });
    panel.host.emit('jobs', [sweepJob]);
    await panel.page.getByText('Measuring costs, matrix 4 of 28').waitFor();
    panel.host.emit('changed', allocationView(tiny));
    await panel.page.getByRole('slider').waitFor();
    await panel.close();
  });

  it('weighs them by the text that the form has, which can be changed or left out', async () => {
    const { sweep: _none, ...view } = allocationView(tiny);
    const text = { calibration: '/texts/calibration.txt', samples: 16, context: 256 };
    const panel = await open(tiny, {}, { ...view, text });
    const field = panel.page.getByRole('textbox', { name: 'Calibration text' });
    const measure = panel.page.getByRole('button', { name: 'Measure Costs' });
    const asked = () => panel.asked.filter(([method]) => method === 'sweep').at(-1)?.[1];
    await expect.poll(() => field.inputValue()).toBe(text.calibration);
    await measure.click();
    expect(asked()).toEqual({ model: '/models/tiny-books-4m', ...text });
    await field.fill('/texts/other.txt');
    await measure.click();
    expect(asked()).toEqual({ model: '/models/tiny-books-4m', ...text, calibration: '/texts/other.txt' });
    await field.fill('');
    await measure.click();
    expect(asked()).toEqual({ model: '/models/tiny-books-4m', plain: true });
    await panel.close();
  });

  it('follows a measurement that was begun before the panel was opened, and cancels it only when told to', async () => {
    const { sweep: _none, ...view } = allocationView(tiny);
    const panel = await harness.open('allocation', {
      ...allocationHost(tiny, view),
      jobs: () => [sweepJob],
    });
    await panel.page.getByText('Measuring costs, matrix 4 of 28').waitFor();
    expect(await panel.page.getByRole('button', { name: 'Measure Costs' }).count()).toBe(0);
    await panel.page.getByRole('button', { name: 'Cancel' }).click();
    expect(panel.asked.at(-1)).toEqual(['cancelJob', { job: 'sweep-1' }]);
    panel.host.emit('jobs', [{ ...sweepJob, state: 'cancelled', resumable: true }]);
    await panel.page.getByRole('button', { name: 'Resume' }).click();
    expect(panel.asked.at(-1)).toEqual(['resumeJob', { job: 'sweep-1' }]);
    // Closing asks for nothing.
    await panel.close();
    expect(panel.asked.filter(([method]) => method === 'cancelJob')).toHaveLength(1);
  });

  it('keeps budget and rules when costs of another rank arrive', async () => {
    const panel = await open(tiny);
    await panel.page.getByText('optimal').waitFor();
    const field = panel.page.getByRole('textbox', { name: /^Budget/ });
    await field.fill('3.25');
    await field.press('Enter');
    await panel.page.getByRole('textbox', { name: 'Matrices the rule is for' }).fill('*.v_proj.weight');
    await panel.page.getByRole('button', { name: 'Add Rule' }).click();
    const view = allocationView(tiny);
    panel.host.emit('changed', { ...view, sweep: { ...view.sweep!, file: '/storage/sweeps/more.json' } });
    await panel.page.getByRole('list', { name: 'Rules in force' }).getByText('*.v_proj.weight').waitFor();
    await expect.poll(() => panel.page.getByRole('slider').inputValue()).toBe('3.25');
    await panel.close();
  });

  it('says what one more kB would gain, and why a matrix got what it got', async () => {
    const panel = await open(tiny);
    await panel.page.getByText('optimal', { exact: true }).waitFor();
    await panel.page.getByText('Select a matrix to see why').waitFor();
    await panel.page.getByRole('grid', { name: 'Plan' }).locator('.grid-body .grid-row').first().click();
    const why = panel.page.getByRole('status').filter({ hasText: 'is stored as' });
    expect(await why.textContent()).toMatch(/NF4 .* would take .* more .*: one more kB here gains [\d.]+ %/);
    expect(await why.textContent()).toMatch(/NF2 .* would save .* and add [\d.]+ %/);
    await panel.close();
  });

  it('moves nothing but its own while the slider is dragged', async () => {
    const panel = await open(tiny, { width: 1400 });
    await panel.page.getByText('optimal', { exact: true }).waitFor();
    const boxes = () =>
      panel.page
        .locator('.budget > *, .readout > *, .allocation-figures > *, .what-if, .rules, .table')
        .evaluateAll(all => all.map(one => one.getBoundingClientRect().toJSON() as DOMRect));
    const before = await boxes();
    const slider = panel.page.getByRole('slider', { name: 'Budget' });
    for (const value of [2.1, 3, 3.9, 4.3]) {
      await slider.evaluate((element, to) => {
        const input = element as HTMLInputElement;
        input.valueAsNumber = to;
        input.dispatchEvent(new Event('input', { bubbles: true }));
      }, value);
      await panel.page.waitForTimeout(60);
      expect(await boxes()).toEqual(before);
    }
    await panel.page.getByText('optimal', { exact: true }).waitFor();
    expect(await boxes()).toEqual(before);
    await panel.close();
  });

  it('lets one choose the compression that the plan is held against', async () => {
    const panel = await open(tiny);
    await panel.page.getByText('optimal', { exact: true }).waitFor();
    await panel.page.locator('.readout vscode-dropdown').click();
    await panel.page.getByRole('option', { name: 'tiny-books-4m-lq-2' }).click();
    const curve = panel.page.getByRole('region', { name: 'Error against size' });
    await curve.locator('.key', { hasText: 'tiny-books-4m-lq-2' }).waitFor();
    await panel.close();
  });

  it('draws measured runs on the curve of their own rules only', async () => {
    const panel = await open(tiny);
    const key = panel.page.getByText('perplexity measured');
    await key.waitFor();
    await panel.page.getByRole('textbox', { name: 'Matrices the rule is for' }).fill('*.v_proj.weight');
    await panel.page.getByRole('button', { name: 'Add Rule' }).click();
    await expect.poll(() => key.count()).toBe(0);
    await panel.close();
  });

  it('tells of other work on the checkpoint, and takes to it', async () => {
    const panel = await harness.open('allocation', {
      ...allocationHost(tiny),
      jobs: () => [runningJob],
    });
    await panel.page.getByRole('list', { name: 'At work on this checkpoint' }).getByText('61 %, 34 s left').waitFor();
    await panel.page.getByRole('button', { name: 'Compress tiny-books-4m' }).click();
    expect(panel.asked.at(-1)).toEqual(['navigate', { to: 'compress', model: '/models/tiny-books-4m', job: 'job-1' }]);
    await panel.close();
  });
});
