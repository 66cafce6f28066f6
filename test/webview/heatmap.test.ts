import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { llama70, tiny, type Architecture } from './fixtures';
import { Harness, themes, type PanelOptions } from './harness';
import { heatmapHost, heatmapView } from './hosts';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start(['heatmap']);
});
afterAll(() => harness.stop());

const open = (a: Architecture, options: PanelOptions = {}) =>
  harness.open('heatmap', heatmapHost(heatmapView(a)), options);

describe('heatmap panel', () => {
  it.each(themes)('has no serious accessibility violation in %s', async theme => {
    for (const [name, architecture] of Object.entries({ small: tiny, large: llama70 })) {
      const panel = await open(architecture, { theme });
      await panel.page.locator('td.cell').first().waitFor();
      await panel.screenshot(`heatmap-${name}-${theme}`);
      expect(await panel.violations()).toEqual([]);
      expect(await panel.spilled()).toEqual([]);
      expect(panel.problems).toEqual([]);
      await panel.close();
    }
  });

  it('moves with the arrow keys, tells the cell in words and opens its tensor with Enter', async () => {
    const panel = await open(tiny);
    const cells = panel.page.getByRole('grid').first().locator('td.cell');
    await cells.first().focus();
    await panel.page.keyboard.press('ArrowRight');
    await panel.page.keyboard.press('ArrowDown');
    const label = () => panel.page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? '');
    expect(await label()).toMatch(/^k layer 1: 0\.\d+/);
    const words = panel.page.locator('.active-cell');
    expect(await words.textContent()).toContain('model.layers.1.self_attn.k_proj.weight');
    expect(await words.textContent()).toMatch(/highest of 26/);
    const tooltip = await panel.page.evaluate(() => document.activeElement?.getAttribute('title') ?? '');
    expect(tooltip).toMatch(
      /^model\.layers\.1\.self_attn\.k_proj\.weight\n128 × 256\n0\.\d+\n(\d+\w\w )?highest of 26$/,
    );
    await panel.page.keyboard.press('Enter');
    expect(panel.asked.at(-1)).toEqual([
      'navigate',
      { to: 'checkpoint', model: '/models/tiny-books-4m', tensor: 'model.layers.1.self_attn.k_proj.weight' },
    ]);
    await panel.close();
  });

  it('draws both sides on one scale, hatches NaN and says what is unknown', async () => {
    const panel = await open(tiny);
    const grids = panel.page.getByRole('grid');
    await grids.first().waitFor();
    expect(await grids.count()).toBe(2);
    expect(await panel.page.locator('td.hatched').count()).toBe(2);
    expect(await panel.page.locator('td.unknown').count()).toBe(2);
    // The strongest cell of the better side is fainter than that of the worse: one scale serves both.
    const inks = await grids.evaluateAll(all =>
      all.map(grid =>
        Math.max(
          ...[...grid.querySelectorAll<HTMLElement>('td.cell')].map(cell =>
            (cell.style.backgroundColor.match(/\d+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part), 0),
          ),
        ),
      ),
    );
    expect(inks[0]).toBeLessThan(inks[1]!);
    await panel.page.getByText('NaN or infinite').waitFor();
    await panel.close();
  });

  it('keeps an 80-layer model to one screen in height, with the roles in place while layers scroll', async () => {
    const panel = await open(llama70, { width: 900 });
    const first = panel.page.locator('.heatmap').first();
    await first.locator('td.cell').first().waitFor();
    await first.evaluate(element => (element.scrollLeft = 400));
    const role = await first.locator('tbody th').first().boundingBox();
    const frame = await first.boundingBox();
    expect(role!.x).toBeCloseTo(frame!.x, 0);
    expect(
      await panel.page.locator('.scroll').evaluate(element => element.scrollHeight <= element.clientHeight + 4),
    ).toBe(true);
    await panel.close();
  });

  it('names the next step for a metric that is not known, and saves PNG, CSV and an external metric', async () => {
    const panel = await open(tiny, { state: { target: {}, view: { metric: 'fisher-mass' } } });
    await panel.page.getByText('Compress with a calibration text first.').waitFor();
    await panel.page.getByRole('button', { name: 'From JSON…' }).click();
    await panel.page.getByRole('heading', { name: 'loss.json' }).waitFor();
    for (const kind of ['CSV', 'PNG']) {
      await panel.page.getByRole('button', { name: 'Export loss.json' }).click();
      await panel.page.getByRole('menuitem', { name: `Save as ${kind}…` }).click();
    }
    const saved = panel.asked
      .filter(([method]) => method === 'save')
      .map(([, file]) => file as { type: string; data: string });
    expect(saved.map(({ type }) => type)).toEqual(['csv', 'png']);
    expect(Buffer.from(saved[1]!.data, 'base64').subarray(1, 4).toString()).toBe('PNG');
    const state = await panel.page.evaluate(() => (window as unknown as { __state: unknown }).__state);
    await panel.page.getByRole('button', { name: 'Show loss.json as a table' }).click();
    expect(await panel.page.getByRole('region').getByRole('row').count()).toBe(29);
    await panel.close();

    const again = await open(tiny, { state });
    await again.page.getByRole('heading', { name: 'loss.json' }).waitFor();
    expect(again.asked.find(([method]) => method === 'external')?.[1]).toEqual({ file: '/data/loss.json' });
    await again.close();
  });

  it('shows the selected matrix beside the cells: its values, its spectrum, and why it got its bits', async () => {
    const panel = await open(tiny, { width: 1400, height: 900 });
    const cells = panel.page.getByRole('grid').first().locator('td.cell');
    await cells.nth(6).hover();
    const pane = panel.page.getByRole('complementary', { name: 'Selected matrix' });
    await pane.getByText('model.layers.2.self_attn.k_proj.weight').waitFor();
    await pane.getByRole('img', { name: /^Histogram of the values/ }).waitFor();
    await pane.getByRole('img', { name: /singular values/ }).waitFor();
    expect(await pane.textContent()).toMatch(/Stored asTrellis 2\.5 bits.*9 of 28 matrices got more bits/);
    expect(panel.asked.filter(([method]) => method === 'selected').at(-1)?.[1]).toEqual({
      tensor: 'model.layers.2.self_attn.k_proj.weight',
    });
    await panel.close();
  });

  it('asks for nothing while the pointer only passes over cells', async () => {
    const panel = await open(llama70);
    const cells = panel.page.getByRole('grid').first().locator('td.cell');
    await cells.first().waitFor();
    await panel.page.getByRole('complementary', { name: 'Selected matrix' }).getByText('Stored as').waitFor();
    panel.asked.length = 0;
    for (let cell = 1; cell < 12; cell++) await cells.nth(cell).dispatchEvent('pointerover');
    await expect.poll(() => panel.asked.filter(([method]) => method === 'matrix').length).toBe(1);
    // Weights of this size are read when asked for.
    expect(panel.asked.some(([method]) => method === 'statistics' || method === 'spectrum')).toBe(false);
    await panel.close();
  });

  it('gives small models large cells, and lets one choose which compression is shown', async () => {
    const panel = await open(tiny, { width: 1400, height: 900 });
    const cell = panel.page.getByRole('grid').first().locator('td.cell').first();
    const box = (await cell.boundingBox())!;
    expect([box.width > 80, box.height > 28]).toEqual([true, true]);
    await panel.page.locator('.heat-controls vscode-dropdown').nth(1).click();
    await panel.page.getByRole('option', { name: /lq-3\.5/ }).click();
    await expect
      .poll(() => panel.asked.find(([method]) => method === 'choose')?.[1])
      .toEqual({ compressed: '/models/tiny-books-4m-lq-3.5' });
    await panel.close();
  });

  it('opens the list of metrics over the labels that stay in place', async () => {
    const panel = await open(llama70);
    await panel.page.getByRole('grid').first().waitFor();
    await panel.page.locator('vscode-dropdown').first().click();
    const covered = await panel.page
      .locator('vscode-dropdown')
      .first()
      .locator('vscode-option')
      .evaluateAll(
        options =>
          options.filter(option => {
            const box = option.getBoundingClientRect();
            return !document.elementFromPoint(box.left + 8, box.top + box.height / 2)?.closest('vscode-dropdown');
          }).length,
      );
    expect(covered).toBe(0);
    await panel.close();
  });
});
