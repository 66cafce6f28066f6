/**
 * The workbench as a person meets it: palette, side bar, explorer, custom editors and panels of a page in Chromium.
 * The waits here are the ones that hold; tests say what they do and look, not how long to wait.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Browser, Frame, Locator, Page } from 'playwright-core';
import { seriousViolations } from './accessibility';
import { repository } from './server';

const shots = path.join(repository, '.artifacts', 'screenshots');

/** Panels redraw their charts after a theme has changed. */
const SETTLING_MS = 700;

/** The themes of a fresh VS Code, by what its settings call them, the workbench and the webviews. */
const themes = {
  dark: { setting: 'Dark Modern', workbench: 'vs-dark', webview: 'vscode-dark' },
  light: { setting: 'Light Modern', workbench: 'vs', webview: 'vscode-light' },
  'hc-black': { setting: 'Default High Contrast', workbench: 'hc-black', webview: 'vscode-high-contrast' },
  'hc-light': {
    setting: 'Default High Contrast Light',
    workbench: 'hc-light',
    webview: 'vscode-high-contrast-light',
  },
} as const;
type Theme = keyof typeof themes;

/** Contributions are registered only when the activity bar shows ours. */
const CONTAINER = 'LQ Studio';

/** A labelled text field of a panel. */
export const field = (panel: Frame, label: string): Locator => panel.getByRole('textbox', { name: label, exact: true });

export class Editor {
  private constructor(
    readonly page: Page,
    /** The settings.json of the folder that is open, or the `.code-workspace` file. */
    private readonly settings: string,
  ) {}

  /** Opens a folder or a `.code-workspace` file in a page of its own and waits for the extension's contributions. */
  static async open(browser: Browser, serverUrl: string, workspace: string): Promise<Editor> {
    const context = await browser.newContext({
      viewport: { width: 1400, height: 900 },
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    const page = await context.newPage();
    const several = workspace.endsWith('.code-workspace');
    const query = `${several ? 'workspace' : 'folder'}=${encodeURIComponent(workspace)}`;
    await page.goto(`${serverUrl}/?${query}`, { waitUntil: 'domcontentloaded' });
    const editor = new Editor(page, several ? workspace : path.join(workspace, '.vscode', 'settings.json'));
    await editor.ready();
    return editor;
  }

  /** Reloads the window as the command does, which ends its extension host and starts another. */
  async reload(): Promise<void> {
    const loaded = this.page.waitForEvent('domcontentloaded');
    await this.command('Developer: Reload Window');
    await loaded;
    await this.ready();
  }

  private async ready(): Promise<void> {
    await this.page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
    await this.activityIcon(CONTAINER).waitFor({ timeout: 60_000 });
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
    const input = this.page.locator('.quick-input-widget input.input');
    const row = this.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: title }).first();
    // The palette lists what was enabled when it opened; in a window that is still starting that may be too early.
    await expect
      .poll(
        async () => {
          await this.page.keyboard.press('Escape');
          await this.page.keyboard.press('F1');
          await input.fill(`>${title}`);
          return row.waitFor({ timeout: 1500 }).then(
            () => true,
            () => false,
          );
        },
        { timeout: 30_000, message: `the palette offers ${title}` },
      )
      .toBe(true);
    await row.click();
  }

  /**
   * Types into the box that a key opens, until something is listed. A window that is busy, closing an editor or another such
   * box, may not take the key or may close what it opened.
   */
  private async listed(key: string, text: string): Promise<Locator> {
    const input = this.page.locator('.quick-input-widget input.input');
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    await expect
      .poll(
        async () => {
          await this.page.keyboard.press('Escape');
          await this.page.keyboard.press(key);
          return input
            .fill(text, { timeout: 1500 })
            .then(() => rows.first().waitFor({ timeout: 1500 }))
            .then(
              () => true,
              () => false,
            );
        },
        { timeout: 30_000, message: `${key} lists ${text}` },
      )
      .toBe(true);
    return rows;
  }

  /** Whether the palette offers a command: it leaves out those that are disabled. */
  async offered(title: string): Promise<boolean> {
    // Something is always listed, if only that nothing matches.
    const rows = await this.listed('F1', `>${title}`);
    const found = await rows.filter({ hasText: title }).count();
    await this.page.keyboard.press('Escape');
    return found > 0;
  }

  /** Picks the entry of an open quick pick whose label is `label`. */
  async choose(label: string): Promise<void> {
    // Long lists are drawn in part: what is typed brings the entry into sight.
    await this.page.locator('.quick-input-widget input.input').fill(label);
    const rows = this.page.locator('.quick-input-list .monaco-list-row');
    await rows
      .filter({ has: this.page.locator('.label-name').getByText(label, { exact: true }) })
      .first()
      .click();
  }

  /** Presses a button of a notification. */
  async answer(notification: string | RegExp, button: string): Promise<void> {
    await this.notification(notification).first().getByRole('button', { name: button, exact: true }).click();
  }

  /** The item of ours in the status bar. */
  statusItem(): Locator {
    return this.page.locator('.statusbar-item[id="lq-studio.lq-studio.lqStudio.status"]');
  }

  /** Lines of the Problems panel, files and problems alike. */
  problem(text: string | RegExp): Locator {
    return this.page.locator('.markers-panel .monaco-list-row').filter({ hasText: text });
  }

  /** What a person would paste. */
  clipboard(): Promise<string> {
    return this.page.evaluate(() => navigator.clipboard.readText());
  }

  treeItem(name: string | RegExp): Locator {
    return this.page.locator('.sidebar').getByRole('treeitem', { name });
  }

  /** The selected line of the side bar's tree. */
  selectedTreeItem(name: string | RegExp): Locator {
    return this.treeItem(name).and(this.page.locator('[aria-selected="true"]'));
  }

  /**
   * The button of a command on a line of the tree, once it shows: buttons show while the pointer is over their line, which a
   * line drawn anew under a resting pointer is not told.
   */
  async lineButton(line: Locator, label: string): Promise<Locator> {
    const button = line.locator(`.action-label[aria-label="${label}"]`);
    await expect
      .poll(
        async () => {
          await this.page.mouse.move(0, 0);
          await line.hover();
          return button.waitFor({ timeout: 1500 }).then(
            () => true,
            () => false,
          );
        },
        { timeout: 30_000, message: `the line has the button ${label}` },
      )
      .toBe(true);
    return button;
  }

  /** The letters that decorate a file, drawn by a style sheet alone. */
  badge(item: Locator): Promise<string> {
    return item
      .locator('.monaco-icon-label')
      .evaluate(label => getComputedStyle(label, '::after').content.replaceAll('"', ''));
  }

  /** Types into the box of a title, once it is there to take what is typed. */
  async type(title: string, text: string): Promise<void> {
    await this.page.locator('.quick-input-title').getByText(title, { exact: true }).waitFor();
    await this.page.locator('.quick-input-widget input.input').fill(text);
  }

  /** Gives a path to an open dialogue, which in the browser is a box with the folder to begin with. */
  async openPath(title: string, file: string): Promise<void> {
    const input = this.page.locator('.quick-input-widget input.input');
    await this.page.locator('.quick-input-title').getByText(title, { exact: true }).waitFor();
    // The box gets its own text back until the folder to begin with has been listed.
    await this.page.locator('.quick-input-list .label-name').getByText('..', { exact: true }).waitFor();
    await input.fill(file);
    await this.page.locator('.quick-input-widget').getByRole('button', { name: 'Open', exact: true }).click();
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
    const rows = await this.listed('Control+P', relative);
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
    await this.setTheme('light');
    await this.page.waitForTimeout(SETTLING_MS);
    await this.screenshot(`${name}-light`);
    await this.setTheme('dark');
  }

  /**
   * Shows a panel in every theme: saves what is on screen as `name-dark` and so on, and returns to the dark theme.
   * @returns what axe-core finds in the panel that is serious or critical, one line each with the theme
   */
  async violationsInEveryTheme(name: string, panel: Frame): Promise<string[]> {
    const found: string[] = [];
    for (const theme of Object.keys(themes) as Theme[]) {
      await this.setTheme(theme);
      await panel.locator(`body[data-vscode-theme-kind="${themes[theme].webview}"]`).waitFor();
      await this.page.waitForTimeout(SETTLING_MS);
      await this.screenshot(`${name}-${theme}`);
      found.push(...(await seriousViolations(panel)).map(violation => `${theme}: ${violation}`));
    }
    await this.setTheme('dark');
    return found;
  }

  private async setTheme(theme: Theme): Promise<void> {
    const { setting, workbench } = themes[theme];
    const file = JSON.parse(readFileSync(this.settings, 'utf8')) as Record<string, unknown>;
    const settings = this.settings.endsWith('.code-workspace') ? ((file['settings'] ??= {}) as typeof file) : file;
    settings['workbench.colorTheme'] = setting;
    writeFileSync(this.settings, JSON.stringify(file));
    await this.page.locator(`.monaco-workbench.${workbench}`).waitFor();
  }
}
