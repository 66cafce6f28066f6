/**
 * Runs a panel's bundle in plain headless Chromium, as VS Code would: its theme variables, its default stylesheet, its body
 * classes, our content security policy, and a host that answers over the real channel with its real checks.
 */
import { createServer, type Server } from 'node:http';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import * as esbuild from 'esbuild';
import { chromium, type Browser, type Page } from 'playwright-core';
import { serve, type Handlers, type Message, type ServerEnd } from '../../extension/protocol/channel';
import { panelRequests } from '../../extension/protocol/panelRequests';
import type { CommonRequests, PanelName, Panels } from '../../extension/protocol/panels';

interface HandlersOf {
  checkpoint: Handlers<Panels['checkpoint']['requests']>;
  compress: Handlers<Panels['compress']['requests']>;
  heatmap: Handlers<Panels['heatmap']['requests']>;
  allocation: Handlers<Panels['allocation']['requests']>;
  perplexity: Handlers<Panels['perplexity']['requests']>;
  compare: Handlers<Panels['compare']['requests']>;
  methods: Handlers<Panels['methods']['requests']>;
}

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../..');
const screenshots = path.join(root, '.artifacts', 'webview');

export const themes = ['dark', 'light', 'hc-black', 'hc-light'] as const;
type ThemeName = (typeof themes)[number];
const bodyClasses: Record<ThemeName, string> = {
  dark: 'vscode-dark',
  light: 'vscode-light',
  'hc-black': 'vscode-high-contrast',
  'hc-light': 'vscode-high-contrast vscode-high-contrast-light',
};

/** The part of VS Code's own webview stylesheet that shows. */
const defaultStyles = `@layer vscode-default {
  html { scrollbar-color: var(--vscode-scrollbarSlider-background) var(--vscode-editor-background); }
  body { overscroll-behavior-x: none; background-color: transparent; color: var(--vscode-editor-foreground);
    font-family: var(--vscode-font-family); font-weight: var(--vscode-font-weight); font-size: var(--vscode-font-size);
    margin: 0; padding: 0 20px; }
  a, a code { color: var(--vscode-textLink-foreground); }
}`;

/** The theme's colours as VS Code sets them, and the fonts of a Linux desktop. */
function themeVariables(theme: ThemeName): Record<string, string> {
  return {
    ...(JSON.parse(readFileSync(path.join(here, 'themes', `${theme}.json`), 'utf8')) as Record<string, string>),
    '--vscode-font-family': 'system-ui, "Ubuntu", "Droid Sans", sans-serif',
    '--vscode-font-size': '13px',
    '--vscode-font-weight': 'normal',
    '--vscode-editor-font-family': '"DejaVu Sans Mono", monospace',
    '--vscode-editor-font-size': '12px',
  };
}

/** Runs in the page. */
function spilledElements(): string[] {
  const scrolls = (element: Element): boolean => /auto|scroll/.test(getComputedStyle(element).overflowX);
  // The whole panel scrolls, which is no place for a part of a card.
  const isReachable = (element: Element | null, room: Element): boolean =>
    element !== null && element !== room && (scrolls(element) || isReachable(element.parentElement, room));
  return [...document.body.querySelectorAll('p, td, th, dd, dt, h1, h2, h3, table, button, vscode-button, label')]
    .filter(element => {
      const box = element.getBoundingClientRect();
      const room = element.closest('aside, section') ?? document.body;
      const right = Math.min(room.getBoundingClientRect().right, innerWidth);
      return box.width > 0 && !isReachable(element.parentElement, room) && box.right > right + 1;
    })
    .map(element => `${element.tagName} ${element.textContent.slice(0, 60)}`);
}

export interface OpenPanel<E> {
  page: Page;
  host: ServerEnd<E>;
  /** Uncaught errors, console errors and content the policy blocked. */
  problems: string[];
  /** Requests as they arrived: [method, params]. */
  asked: [string, unknown][];
  /**
   * Processor milliseconds the page's main thread has used since it was opened: what the panel takes, however busy the machine
   * is with other things.
   */
  work(): Promise<number>;
  setTheme(theme: ThemeName): Promise<void>;
  /** Violations that axe-core calls serious or critical, one line each. */
  violations(): Promise<string[]>;
  /** What is wider than the room it has and cannot be scrolled to, in panels of 1400 down to 700 pixels, one line each. */
  spilled(): Promise<string[]>;
  screenshot(name: string): Promise<void>;
  close(): Promise<void>;
}

export interface PanelOptions {
  theme?: ThemeName;
  width?: number;
  height?: number;
  /** What getState returns: a panel opened again. */
  state?: unknown;
}

export class Harness {
  private constructor(
    private readonly browser: Browser,
    private readonly server: Server,
    private readonly origin: string,
    private readonly bundles: Map<string, Uint8Array>,
  ) {}

  /** Bundles the panels as the build does and starts a browser. */
  static async start(panels: readonly PanelName[]): Promise<Harness> {
    const built = await esbuild.build({
      absWorkingDir: root,
      entryPoints: panels.map(name => ({ in: `webview/${name}/main.tsx`, out: name })),
      bundle: true,
      write: false,
      outdir: 'unused',
      platform: 'browser',
      target: 'chrome120',
      format: 'iife',
      jsx: 'automatic',
      jsxImportSource: 'preact',
      logLevel: 'warning',
    });
    const bundles = new Map(built.outputFiles.map(file => [path.basename(file.path), file.contents]));
    const server = createServer((request, response) => {
      const file = path.basename(new URL(request.url ?? '/', 'http://localhost').pathname);
      const content = bundles.get(file);
      const type = file.endsWith('.css') ? 'text/css' : file.endsWith('.js') ? 'text/javascript' : 'text/html';
      response.writeHead(content ? 200 : 404, { 'content-type': `${type}; charset=utf-8` });
      response.end(content);
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (typeof address !== 'object' || !address) throw new Error('The server has no address');
    const browser = await chromium.launch({
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'],
    });
    mkdirSync(screenshots, { recursive: true });
    return new Harness(browser, server, `http://127.0.0.1:${address.port}`, bundles);
  }

  async stop(): Promise<void> {
    await this.browser.close();
    await new Promise(resolve => this.server.close(resolve));
  }

  /** Opens a panel with a host that answers with the given handlers; common requests have answers of their own. */
  async open<N extends PanelName>(
    name: N,
    handlers: HandlersOf[N],
    options: PanelOptions = {},
  ): Promise<OpenPanel<Panels[N]['events']>> {
    const theme = options.theme ?? 'dark';
    const context = await this.browser.newContext({
      viewport: { width: options.width ?? 1280, height: options.height ?? 800 },
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    const devtools = await context.newCDPSession(page);
    await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
    const problems: string[] = [];
    const asked: [string, unknown][] = [];
    page.on('pageerror', error => problems.push(String(error)));
    page.on('console', message => {
      if (message.type() === 'error') problems.push(message.text());
    });

    let receive: (message: unknown) => void = () => undefined;
    await page.exposeFunction('__toHost', (message: Message) => {
      if (message.kind === 'request') asked.push([message.method, message.params]);
      receive(message);
    });
    // Indexing by a type parameter loses the tie between schemas and handlers; the signature above has it.
    const host = serve<CommonRequests, Panels[N]['events']>(
      {
        post: message => {
          if (page.isClosed()) return;
          // Through JSON, as between VS Code's processes: NaN becomes null.
          const text = JSON.stringify(message);
          page.evaluate(json => window.postMessage(JSON.parse(json), '*'), text).catch(() => undefined);
        },
        listen: listener => {
          receive = listener;
          return () => (receive = () => undefined);
        },
      },
      panelRequests[name],
      handlers,
      error => problems.push(error.message),
    );

    const nonce = 'dGVzdA==';
    this.bundles.set(`${name}.html`, new TextEncoder().encode(this.html(name, nonce)));
    await page.addInitScript(
      ({ variables, bodyClass, state }) => {
        document.addEventListener(
          'DOMContentLoaded',
          () => {
            for (const [key, value] of Object.entries(variables))
              document.documentElement.style.setProperty(key, value);
            document.body.className = bodyClass;
            document.body.dataset['vscodeThemeKind'] = bodyClass.split(' ').at(-1) ?? '';
          },
          { once: true },
        );
        document.addEventListener('securitypolicyviolation', event =>
          console.error(`blocked by the policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
        );
        let kept: unknown = state;
        Object.assign(window, {
          acquireVsCodeApi: () => ({
            postMessage: (message: unknown) => {
              void (window as unknown as { __toHost(m: unknown): Promise<void> }).__toHost(message);
            },
            getState: () => kept,
            setState: (next: unknown) => {
              kept = JSON.parse(JSON.stringify(next));
              (window as unknown as { __state: unknown }).__state = kept;
            },
          }),
        });
      },
      { variables: themeVariables(theme), bodyClass: bodyClasses[theme], state: options.state },
    );
    await page.goto(`${this.origin}/${name}.html`);
    await page
      .locator('.strip, .empty, .failure, .compare-sides')
      .first()
      .waitFor({ timeout: 10_000 })
      .catch((error: unknown) => {
        throw new Error(`The panel stayed empty: ${problems.join('; ') || String(error)}`);
      });
    return {
      page,
      host,
      problems,
      asked,
      work: async () => {
        const { metrics } = await devtools.send('Performance.getMetrics');
        return 1000 * (metrics.find(metric => metric.name === 'TaskDuration')?.value ?? NaN);
      },
      setTheme: async next => {
        await page.evaluate(
          ({ variables, bodyClass }) => {
            document.documentElement.removeAttribute('style');
            for (const [key, value] of Object.entries(variables))
              document.documentElement.style.setProperty(key, value);
            document.body.className = bodyClass;
            document.body.dataset['vscodeThemeKind'] = bodyClass.split(' ').at(-1) ?? '';
          },
          { variables: themeVariables(next), bodyClass: bodyClasses[next] },
        );
        await page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
      },
      violations: async () => {
        const before = problems.length;
        // Handed over by the debugger, outside the policy; the style elements it adds itself are then blocked, and no problem.
        await page.evaluate(axe.source);
        const found = await page.evaluate(() =>
          (window as unknown as { axe: typeof axe }).axe.run(document, {
            resultTypes: ['violations'],
            runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'],
          }),
        );
        problems.splice(before);
        return found.violations
          .filter(({ impact }) => impact === 'serious' || impact === 'critical')
          .flatMap(({ id, nodes }) =>
            nodes.map(node => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ''}`),
          );
      },
      spilled: async () => {
        const size = page.viewportSize()!;
        const found: string[] = [];
        for (const width of [1400, 900, 700]) {
          await page.setViewportSize({ ...size, width });
          found.push(...(await page.evaluate(spilledElements)).map(line => `${width}: ${line}`));
        }
        await page.setViewportSize(size);
        return found;
      },
      screenshot: async file => {
        // Hides the text cursor with a style element, which the policy blocks.
        const before = problems.length;
        await page.screenshot({ path: path.join(screenshots, `${file}.png`) });
        problems.splice(before);
      },
      close: async () => {
        host.close();
        await context.close();
      },
    };
  }

  private html(name: PanelName, nonce: string): string {
    const policy = [
      `default-src 'none'`,
      `script-src 'nonce-${nonce}'`,
      `style-src ${this.origin} 'nonce-${nonce}'`,
      `img-src ${this.origin} data: blob:`,
      `font-src ${this.origin}`,
    ].join('; ');
    return `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
      <meta http-equiv="Content-Security-Policy" content="${policy}">
      <meta property="csp-nonce" content="${nonce}">
      <title>LQ Studio</title><link rel="icon" href="data:,">
      <style nonce="${nonce}">${defaultStyles}</style>
      <link rel="stylesheet" href="${name}.css"></head>
      <body data-panel="${name}" data-target='{"model":"/models/tiny"}'><main id="root"></main>
      <script nonce="${nonce}" src="${name}.js"></script></body></html>`;
  }
}
