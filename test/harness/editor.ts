/**
 * The workbench as a person meets it: palette, side bar, explorer, custom editors and panels of a page in Chromium.
 * The waits here are the ones that hold; tests say what they do and look, not how long to wait.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Browser, Frame, Locator, Page } from 'playwright-core';
import { repository } from './server';

const shots = path.join(repository, '.artifacts', 'screenshots');

/** Panels redraw their charts after a theme has changed. */
const SETTLING_MS = 700;

/** Contributions are registered only when the activity bar shows ours. */
const CONTAINER = 'LQ Studio';

/** A labelled text field of a panel. */
export const field = (panel: Frame, label: string): Locator => panel.getByRole('textbox', { name: label, exact: true });

export class Editor {
  private constructor(
    readonly page: Page,
    /** The workspace's settings.json. */
    private readonly settings: string,
  ) {}

  /** Opens a folder in a page of its own and waits for the extension's contributions. */
  static async open(browser: Browser, serverUrl: string, folder: string): Promise<Editor> {
    const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
    const page = await context.newPage();
    await page.goto(`${serverUrl}/?folder=${encodeURIComponent(folder)}`, { waitUntil: 'domcontentloaded' });
    await page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
    const editor = new Editor(page, path.join(folder, '.vscode', 'settings.json'));
    await editor.activityIcon(CONTAINER).waitFor({ timeout: 60_000 });
    return editor;
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  private activityIcon(title: string): Locator {
    return this.page.locator(`.activitybar .action-item [aria-label^="${title}"]`).first();
  }

  /** Shows a side bar by its title in the activity bar. */
  async showSideBar(title: string): Promise<void> {
    const heading = this.page.locator('.sidebar .composite.title');
    if (!(await heading.textContent().catch(() => ''))?.includes(title)) await this.activityIcon(title).click();
    await heading.filter({ hasText: title }).waitFor();
  }

  /** Runs a command by its full title, as the palette lists it. */
  async command(title: string): Promise<void> {
    await this.page.keyboard.press('F1');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.fill(`>${title}`);
    await this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: title }).first().click();
  }

  /** Picks the entry of an open quick pick whose label is `label`. */
  async choose(label: string): Promise<void> {
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    await rows
      .filter({ has: this.page.locator('.label-name').getByText(label, { exact: true }) })
      .first()
      .click();
  }

  treeItem(name: string | RegExp): Locator {
    return this.page.locator('.sidebar').getByRole('treeitem', { name });
  }

  /** Expands an item of the tree unless it is expanded. */
  async expand(name: string | RegExp): Promise<void> {
    const item = this.treeItem(name).first();
    await item.waitFor();
    if ((await item.getAttribute('aria-expanded')) === 'true') return;
    await item.locator('.monaco-tl-twistie').click();
    await item.and(this.page.locator('[aria-expanded="true"]')).waitFor();
  }

  /**
   * Opens a file by its workspace path through Quick Open, in the editor that claims it.
   * @returns when the file was chosen, by performance.now()
   */
  async openFile(relative: string): Promise<number> {
    await this.page.keyboard.press('Control+P');
    await this.page.locator('.quick-input-widget input.input').fill(relative);
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    const row = rows.filter({ hasText: path.basename(relative) }).first();
    await row.waitFor();
    const chosen = performance.now();
    await row.click();
    return chosen;
  }

  /** The visible panel or custom editor whose content matches `selector`: webviews are frames within frames. */
  async panel(selector: string, timeout = 30_000): Promise<Frame> {
    const deadline = Date.now() + timeout;
    for (;;) {
      for (const frame of this.page.frames()) {
        const found = await frame
          .locator(selector)
          .first()
          .isVisible()
          .catch(() => false);
        if (found && frame !== this.page.mainFrame()) return frame;
      }
      if (Date.now() > deadline) throw new Error(`No panel shows ${selector} after ${timeout} ms`);
      await this.page.waitForTimeout(25);
    }
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator('.notifications-toasts .notification-list-item').filter({ hasText: text });
  }

  hover(): Locator {
    return this.page.locator('.monaco-hover:not(.hidden)');
  }

  /** Saves what is on screen among the test artefacts. */
  async screenshot(name: string): Promise<void> {
    mkdirSync(shots, { recursive: true });
    await this.page.screenshot({ path: path.join(shots, `${name}.png`), animations: 'disabled' });
  }

  /** Saves what is on screen as `name-dark` and `name-light`, then returns to the dark theme the tests run in. */
  async screenshotInBothThemes(name: string): Promise<void> {
    await this.screenshot(`${name}-dark`);
    const before = readFileSync(this.settings, 'utf8');
    const settings = JSON.parse(before) as Record<string, unknown>;
    writeFileSync(this.settings, JSON.stringify({ ...settings, 'workbench.colorTheme': 'Light Modern' }));
    await this.page.locator('.monaco-workbench.vs').waitFor();
    await this.page.waitForTimeout(SETTLING_MS);
    await this.screenshot(`${name}-light`);
    writeFileSync(this.settings, before);
    await this.page.locator('.monaco-workbench.vs-dark').waitFor();
  }
}
