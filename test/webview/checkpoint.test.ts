import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CheckpointView } from '../../extension/protocol/panels';
import { checkpointView, compressedHeader, hostileName, hostileView, manyTensors, statistics, tiny } from './fixtures';
import { Harness, themes, type PanelOptions } from './harness';
import { checkpointHost, sweepJob } from './hosts';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start(['checkpoint']);
});
afterAll(() => harness.stop());

async function open(view: CheckpointView, options: PanelOptions = {}) {
  const handlers = checkpointHost(view, values => panel.host.emit('statistics', values));
  const panel = await harness.open('checkpoint', handlers, options);
  return panel;
}
const withTwin = (): CheckpointView => ({
  ...checkpointView(tiny),
  twins: [compressedHeader(tiny), { ...compressedHeader(tiny), path: '/models/other-lq', label: 'other-lq' }],
});
/** What was asked that reads weights. */
const computing = (asked: readonly [string, unknown][]) =>
  asked.map(([method]) => method).filter(method => !['load', 'jobs', 'selected'].includes(method));
const rowsShown = '.grid-body .grid-row';

describe('checkpoint panel', () => {
  it.each(themes)('has no serious accessibility violation in %s and obeys the content security policy', async theme => {
    const panel = await open(withTwin(), { theme, height: 900, width: 1400 });
    await panel.page.locator(rowsShown).nth(4).click();
    await panel.page.locator('.detail-twin canvas').last().waitFor();
    await panel.screenshot(`checkpoint-${theme}`);
    await panel.page.locator('.detail-twin').scrollIntoViewIfNeeded();
    await panel.screenshot(`checkpoint-twin-${theme}`);
    expect(await panel.violations()).toEqual([]);
    expect(await panel.spilled()).toEqual([]);
    for (const tab of ['Files', 'Metadata', 'Problems']) {
      await panel.page.getByRole('tab', { name: tab }).click();
      expect(await panel.violations()).toEqual([]);
      expect(await panel.spilled()).toEqual([]);
    }
    expect(panel.problems).toEqual([]);
    await panel.close();
  });

  it('copies the selected row, and exports shapes as shapes', async () => {
    const panel = await open(checkpointView(tiny));
    await panel.page.getByText('model.layers.0.self_attn.k_proj.weight').first().click();
    await panel.page.getByRole('grid').focus();
    await panel.page.keyboard.press('Control+c');
    await expect.poll(() => panel.asked.find(([method]) => method === 'copy')?.[1]).toBeDefined();
    const { text } = panel.asked.find(([method]) => method === 'copy')![1] as { text: string };
    expect(text.split('\t').slice(0, 3)).toEqual(['model.layers.0.self_attn.k_proj.weight', 'k', '128x256']);
    await panel.close();
  });

  it('keeps both ends of a name in sight, and hands the row to the menu of a right click', async () => {
    const panel = await open(checkpointView(tiny), { width: 900 });
    const row = panel.page.locator(rowsShown).nth(5);
    const tail = row.locator('.name-tail');
    const [name, head, end] = await Promise.all([
      row.locator('.name').boundingBox(),
      row.locator('.name-head').boundingBox(),
      tail.boundingBox(),
    ]);
    expect(head!.width).toBeGreaterThan(4);
    expect(end!.x + end!.width).toBeLessThanOrEqual(name!.x + name!.width + 1);
    expect(await tail.textContent()).toMatch(/^\d+\..*weight$/);
    const context = JSON.parse((await row.getAttribute('data-vscode-context')) ?? '{}') as Record<string, unknown>;
    expect(context).toMatchObject({ webviewSection: 'tensor', preventDefaultContextMenuItems: true });
    expect(context['tensor']).toBe(await row.locator('.name').getAttribute('title'));
    await row.click({ button: 'right' });
    await expect.poll(() => row.getAttribute('aria-selected')).toBe('true');
    await panel.close();
  });

  it('says of a shard that it is a part, opens the whole, and does things to the whole', async () => {
    const view = checkpointView(tiny);
    const part = { path: '/models/tiny-books-4m', label: 'tiny-books-4m', number: 1, count: 2 };
    const panel = await open({
      ...view,
      header: { ...view.header, path: '/models/tiny-books-4m/one.safetensors', part },
    });
    await panel.page.getByText('File 1 of 2 of tiny-books-4m').waitFor();
    await panel.page.getByRole('button', { name: 'Open the whole' }).click();
    expect(panel.asked.at(-1)).toEqual(['navigate', { to: 'checkpoint', model: part.path }]);
    await panel.page.getByRole('button', { name: 'Compress…' }).click();
    expect(panel.asked.at(-1)).toEqual(['navigate', { to: 'compress', model: part.path }]);
    await panel.close();
  });

  it('shows 10,000 tensors within a second and scrolls them without long frames', async () => {
    const panel = await open(manyTensors(10_000));
    await panel.page.locator(rowsShown).first().waitFor();
    const opened = await panel.work();
    expect(opened).toBeLessThan(1000);
    expect(await panel.page.getByRole('grid').getAttribute('aria-rowcount')).toBe('10001');
    expect(await panel.page.locator(rowsShown).count()).toBeLessThan(80);
    const frames = 30;
    await panel.page.evaluate(async count => {
      const grid = document.querySelector('.grid')!;
      for (let step = 0; step < count; step++) {
        grid.scrollTop = (grid.scrollHeight * ((step * 37) % 60)) / 60;
        await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
      }
    }, frames);
    expect(((await panel.work()) - opened) / frames).toBeLessThan(50);
    await panel.page.getByRole('textbox', { name: 'Filter tensors' }).fill('layers.7 expert 11 down');
    await panel.page.getByText(/ of 10,000/).waitFor();
    expect(await panel.page.locator(rowsShown).first().textContent()).toContain('layers.7.mlp.experts.11.down_proj');
    await panel.close();
  });

  it('is driven by the keyboard like a list, and keeps selection, filter and sort over a reload', async () => {
    const panel = await open(checkpointView(tiny));
    const grid = panel.page.getByRole('grid', { name: 'Tensors' });
    await grid.focus();
    const selected = () => grid.locator('[aria-selected=true]').textContent();
    await panel.page.keyboard.press('ArrowDown');
    expect(await selected()).toContain('lm_head.weight');
    await panel.page.keyboard.press('End');
    expect(await selected()).toContain('model.norm.weight');
    await panel.page.keyboard.press('ArrowUp');
    await panel.page.getByRole('columnheader', { name: 'Size' }).getByRole('button').click();
    expect(await panel.page.getByRole('columnheader', { name: 'Size' }).getAttribute('aria-sort')).toBe('descending');
    const kept = (await grid.locator('[aria-selected=true] .name').textContent()) ?? '';
    const state = await panel.page.evaluate(() => (window as unknown as { __state: unknown }).__state);
    expect(state).toMatchObject({ target: { model: '/models/tiny' } });
    await panel.close();

    const again = await open(checkpointView(tiny), { state });
    const restored = again.page.getByRole('grid', { name: 'Tensors' }).locator('[aria-selected=true] .name');
    expect(await restored.textContent()).toBe(kept);
    expect(await again.page.getByRole('columnheader', { name: 'Size' }).getAttribute('aria-sort')).toBe('descending');
    await again.close();
  });

  it('shows hostile names, metadata and problems as text, cut to what can be shown', async () => {
    const panel = await open(hostileView());
    await panel.page.locator(rowsShown).first().click();
    await panel.page.locator('.detail canvas').first().waitFor();
    for (const tab of ['Files', 'Metadata', 'Problems', 'Tensors']) {
      await panel.page.getByRole('tab', { name: tab }).click();
      expect(await panel.page.locator('img, main script').count()).toBe(0);
      expect(await panel.page.getByText('<script>', { exact: false }).count()).toBeGreaterThan(0);
    }
    expect(await panel.page.evaluate(() => '__pwned' in window)).toBe(false);
    const longest = await panel.page.evaluate(() =>
      Math.max(
        ...[...document.querySelectorAll('main *')].filter(e => !e.children.length).map(e => e.textContent.length),
      ),
    );
    expect(longest).toBeLessThan(2100);
    // A character that turns the reading direction would make one name look like another.
    expect(await panel.page.locator('.name', { hasText: '\u202e' }).count()).toBe(0);
    expect(await panel.page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
    await panel.page.getByRole('button', { name: 'Copy the name' }).click();
    expect(panel.asked.find(([method]) => method === 'copy')?.[1]).toEqual({ text: hostileName });
    expect(panel.problems).toEqual([]);
    await panel.close();
  });

  it('offers what is costly instead of starting it, and computes nothing in Restricted Mode', async () => {
    const big = checkpointView({ ...tiny, hidden: 8192, inner: 28672 });
    const panel = await open(big);
    await panel.page.locator(rowsShown).nth(2).click();
    await panel.page.getByRole('button', { name: 'Compute Spectrum' }).waitFor();
    expect(computing(panel.asked)).toEqual([]);
    await panel.page.getByRole('button', { name: 'Compute Spectrum' }).click();
    await panel.page.getByRole('img', { name: /Singular spectrum/ }).waitFor();
    await panel.close();

    const restricted = await open({ ...checkpointView(tiny), canCompute: false });
    await restricted.page.locator(rowsShown).nth(2).click();
    await restricted.page.getByText('Restricted Mode').waitFor();
    expect(computing(restricted.asked)).toEqual([]);
    await restricted.close();
  });

  it('clips no column beside the details, whatever the width, and brings spare ones back when there is room', async () => {
    const panel = await open({ ...withTwin(), statistics: [] }, { width: 1000 });
    await panel.page.locator(rowsShown).nth(4).click();
    await panel.page.getByRole('region', { name: 'Statistics' }).waitFor();
    const headings = () => panel.page.getByRole('columnheader').allTextContents();
    const clipped = () =>
      panel.page.evaluate(() => {
        const grid = document.querySelector('.grid')!;
        const cells = [...document.querySelectorAll('.grid-head .grid-cell')];
        return grid.scrollWidth > grid.clientWidth || cells.some(cell => cell.scrollWidth > cell.clientWidth);
      });
    expect(await clipped()).toBe(false);
    expect(await headings()).toEqual(['Name', 'Shape', 'Size', 'Bits']);
    await panel.page.setViewportSize({ width: 900, height: 800 });
    await expect.poll(clipped).toBe(false);
    // What was computed is what one wants to see: the columns that every table has give way first.
    await panel.page.setViewportSize({ width: 1400, height: 800 });
    await expect.poll(headings).toEqual(expect.arrayContaining(['Size', 'Bits', 'Absmax', 'Std dev', 'NaN, Inf']));
    expect(await clipped()).toBe(false);
    await panel.page.setViewportSize({ width: 2200, height: 800 });
    await expect.poll(headings).toContain('Parameters');
    expect(await clipped()).toBe(false);
    await panel.close();
  });

  it('tells the energy kept at any rank, and draws a matrix and its twin on one scale', async () => {
    const panel = await open(withTwin(), { height: 900, width: 1400 });
    await panel.page.locator(rowsShown).nth(4).click();
    const spectrum = panel.page.getByRole('region', { name: 'Singular values' });
    const rank = spectrum.getByRole('textbox', { name: 'Rank to keep' });
    await rank.waitFor();
    const kept = async () =>
      Number(/keeps ([\d.]+) %/.exec((await spectrum.getByRole('status').textContent()) ?? '')?.[1]);
    const atSuggested = await kept();
    await rank.fill('8');
    await expect.poll(kept).toBeLessThan(atSuggested);
    await rank.fill('128');
    await expect.poll(kept).toBe(100);
    const both = panel.page.getByRole('region', { name: 'Both, on one scale' });
    const ends = await both.locator('.ramp').allTextContents();
    expect(ends).toHaveLength(2);
    expect(ends[0]).toBe(ends[1]);
    await both.getByRole('button', { name: 'Export Both' }).click();
    await panel.page.getByRole('menuitem', { name: 'Save as PNG…' }).click();
    await panel.page.getByRole('button', { name: /weights\.png$/ }).click();
    expect(panel.asked.at(-1)?.[0]).toBe('openPath');
    await panel.page.getByRole('button', { name: 'Copy as command line' }).click();
    expect(panel.asked.at(-1)).toMatchObject([
      'copyCommand',
      { command: 'stats', request: { tensors: ['model.layers.0.self_attn.v_proj.weight'] } },
    ]);
    await panel.close();
  });

  it('shows the values of the files as they are, not those of what was there before', async () => {
    const view = checkpointView(tiny);
    const name = 'model.layers.0.self_attn.q_proj.weight';
    const row = view.rows.find(each => each.name === name)!;
    let now = { ...view, statistics: [{ ...statistics(row), absmax: 0.125 }] };
    const handlers = checkpointHost(view, () => undefined);
    const panel = await harness.open('checkpoint', {
      ...handlers,
      load: () => now,
      statistics: () => ({ computed: 0 }),
    });
    await panel.page.getByText(name).first().click();
    const facts = panel.page.getByRole('region', { name: 'Statistics' });
    await facts.getByText('0.125').waitFor();
    await panel.page.getByRole('img', { name: /Singular spectrum/ }).waitFor();
    const spectra = () => panel.asked.filter(([method]) => method === 'spectrum').length;
    expect(spectra()).toBe(1);
    now = { ...view, header: { ...view.header, version: '2' }, statistics: [{ ...statistics(row), absmax: 0.75 }] };
    panel.host.emit('changed', now);
    await facts.getByText('0.75').waitFor();
    await expect.poll(spectra).toBe(2);
    panel.host.emit('changed', { ...now, header: { ...view.header, version: '3' }, statistics: [] });
    await expect.poll(() => facts.count()).toBe(0);
    await panel.close();
  });

  it('computes all statistics as a job that goes on without it, and tells which tensor is selected', async () => {
    const panel = await open(checkpointView(tiny));
    await panel.page.getByRole('button', { name: 'Compute Statistics' }).click();
    await expect.poll(() => panel.asked.some(([method]) => method === 'allStatistics')).toBe(true);
    const job = { ...sweepJob, id: 's', method: 'statistics' as const, title: 'Statistics of tiny-books-4m' };
    panel.host.emit('jobs', [{ ...job, progress: { stage: 'statistics', done: 3, total: 31 } }]);
    await panel.page.getByText(/Statistics, tensor 4 of 31|4 of 31/).waitFor();
    await panel.page.getByRole('button', { name: 'Cancel' }).click();
    expect(panel.asked.at(-1)).toEqual(['cancelJob', { job: 's' }]);
    await panel.page.getByText('model.norm.weight').click();
    await expect
      .poll(() => panel.asked.filter(([method]) => method === 'selected').at(-1)?.[1])
      .toEqual({ tensor: 'model.norm.weight' });
    await panel.close();
  });

  it('lays the histograms of a matrix and its twin over each other, of the compression that is chosen', async () => {
    const panel = await open(withTwin(), { height: 900, width: 1400 });
    await panel.page.locator(rowsShown).nth(4).click();
    const both = panel.page.getByRole('region', { name: 'Both histograms' });
    await both.waitFor();
    await expect.poll(() => both.locator('.key').allTextContents()).toEqual(['tiny-books-4m', 'tiny-books-4m-lq-2.75']);
    await panel.page.locator('.section-title vscode-dropdown').click();
    await panel.page.getByRole('option', { name: 'other-lq' }).click();
    await expect.poll(() => both.locator('.key').allTextContents()).toEqual(['tiny-books-4m', 'other-lq']);
    expect(panel.asked.filter(([method]) => method === 'twin').at(-1)?.[1]).toMatchObject({
      model: '/models/other-lq',
    });
    await panel.close();
  });

  it('repaints charts and controls when the theme changes', async () => {
    const panel = await open(checkpointView(tiny));
    await panel.page.locator(rowsShown).nth(2).click();
    const canvas = panel.page.getByRole('img', { name: /^Histogram of 64/ });
    await canvas.waitFor();
    const corner = () =>
      canvas.evaluate(element => [
        ...(element as HTMLCanvasElement).getContext('2d')!.getImageData(2, 2, 1, 1).data.slice(0, 3),
      ]);
    expect(await corner()).toEqual([31, 31, 31]);
    await panel.setTheme('light');
    await expect.poll(corner).toEqual([255, 255, 255]);
    expect(panel.problems).toEqual([]);
    await panel.close();
  });
});
