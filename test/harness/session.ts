/** What a test file in the browser works in: one server with the packaged extension, one browser, one window at a time. */
import { rmSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { launchBrowser } from './browser';
import { Editor } from './editor';
import { packagedExtension, startServer, type Server, type ServerOptions } from './server';

export interface SessionOptions extends Omit<ServerOptions, 'extensions' | 'testDriver'> {
  /** Makes the folder that the window opens. */
  workspace: () => string;
  /** Other extensions to install beside the product. */
  companions?: () => Promise<string[]>;
}

export class Session {
  private state: { server: Server; browser: Browser; editor: Editor; workspace: string } | undefined;

  /** Registers the hooks of a test file; everything it gives is there once the first of its own hooks or tests runs. */
  constructor(options: SessionOptions) {
    beforeAll(async () => {
      const workspace = options.workspace();
      const extensions = [packagedExtension, ...((await options.companions?.()) ?? [])];
      // Nothing that was computed before is known, and nothing is left behind.
      const settings = { 'lqStudio.cache.folder': `${workspace}-cache`, ...options.settings };
      const server = await startServer({ extensions, settings, ...(options.trust && { trust: true }) });
      const browser = await launchBrowser();
      const editor = await Editor.open(browser, server.url, workspace);
      this.state = { server, browser, editor, workspace };
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') await this.state?.editor.screenshot(`failed ${task.name}`);
    });
    afterAll(async () => {
      await this.state?.browser.close();
      await this.state?.server.stop();
      if (!this.state) return;
      const { workspace } = this.state;
      for (const folder of [workspace, `${workspace}-cache`]) rmSync(folder, { recursive: true, force: true });
    });
  }

  get editor(): Editor {
    return this.started.editor;
  }

  get server(): Server {
    return this.started.server;
  }

  /** Absolute path of the folder that is open. */
  get workspace(): string {
    return this.started.workspace;
  }

  /** Closes the window and opens another, as a person who goes on elsewhere. */
  async openWindow(workspace: string): Promise<Editor> {
    const { editor, browser, server } = this.started;
    await editor.close();
    const next = await Editor.open(browser, server.url, workspace);
    this.started.editor = next;
    return next;
  }

  private get started() {
    if (!this.state) throw new Error('The session has not started');
    return this.state;
  }
}
