import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Harness, themes, type PanelOptions } from './harness';
import { sweepJob } from './hosts';
import { methodsHost, methodsView } from './hosts/methods';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start(['methods']);
});
afterAll(() => harness.stop());

const open = (options: PanelOptions = {}, view = methodsView()) => harness.open('methods', methodsHost(view), options);

describe('methods panel', () => {
  it.each(themes)('has no serious accessibility violation in %s', async theme => {
    for (const width of [1400, 900]) {
      const panel = await open({ theme, width });
      await panel.page.getByText('Round to nearest').last().waitFor();
      await panel.screenshot(`methods-${theme}-${width}`);
      expect(await panel.violations()).toEqual([]);
      expect(await panel.spilled()).toEqual([]);
      expect(panel.problems).toEqual([]);
      await panel.close();
    }
  });

  it('lists the best first, and why a method is not among them', async () => {
    const panel = await open();
    const rows = panel.page.locator('.grid-body .grid-row');
    await rows.first().waitFor();
    expect(await rows.first().textContent()).toContain('Frontier21.63+5.11 %3.00');
    expect(await rows.last().textContent()).toContain('The least that LQ-LoRA can meet is 3.42 effective bits.');
    expect(await panel.page.locator('.figure-note').textContent()).toContain('perplexity 20.58 on eval.txt');
    await panel.close();
  });

  it('asks for the chosen methods at the chosen size, once, and tells how far they are', async () => {
    const panel = await open();
    const { page } = panel;
    await page.getByRole('textbox', { name: 'Effective bits a weight' }).fill('2.5');
    await page.getByRole('checkbox', { name: 'Round to nearest' }).click();
    const compare = page.getByRole('button', { name: 'Compare', exact: true });
    await compare.click();
    await expect.poll(() => panel.asked.filter(([method]) => method === 'start')).toHaveLength(1);
    expect(panel.asked.find(([method]) => method === 'start')?.[1]).toEqual({
      model: '/models/tiny-books-4m',
      effectiveBits: 2.5,
      calibration: '/data/calib.txt',
      evalText: '/data/eval.txt',
      samples: 64,
      context: 512,
      methods: ['frontier', 'gptq', 'lq-lora'],
    });
    const progress = { stage: 'sweep' as const, item: 'GPTQ, q_proj', done: 1, total: 4 };
    panel.host.emit('jobs', [{ ...sweepJob, id: 'methods-3', method: 'methods', progress }]);
    await page.getByText('GPTQ, q_proj').waitFor();
    expect(await compare.count()).toBe(0);
    await panel.close();
  });

  it('starts nothing without a text, a size or a method', async () => {
    const panel = await open();
    const compare = panel.page.getByRole('button', { name: 'Compare', exact: true });
    const text = panel.page.getByRole('textbox', { name: 'Evaluation text' });
    await text.fill('');
    await expect.poll(() => compare.isEnabled()).toBe(false);
    await text.fill('/data/eval.txt');
    await expect.poll(() => compare.isEnabled()).toBe(true);
    await panel.page.getByRole('textbox', { name: 'Effective bits a weight' }).fill('none');
    await expect.poll(() => compare.isEnabled()).toBe(false);
    expect(await panel.page.getByRole('alert').textContent()).toBe('A number of bits');
    await panel.close();
  });

  it('goes back to an earlier comparison', async () => {
    const panel = await open();
    await panel.page.getByRole('combobox', { name: 'Comparison' }).click();
    await panel.page.getByRole('option', { name: /^4\.00 bits/ }).click();
    await panel.page.getByText('Methods at 4.00 effective bits').waitFor();
    await panel.close();
  });
});
