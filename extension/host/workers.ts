import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import type { AtWork } from '../core/storage/cache-folder';
import { cacheFolder, isSelf, workersOf } from '../node/cache';
import { jobSettings } from './settings';
import type { Studio } from './studio';

/** How often the cache folder is looked at while the list of runs is in sight. */
const EVERY_MS = 5000;

/** Processes beside this window's engine that work on its cache folder: the command line, other windows, a cluster's workers. */
export class Workers implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changed.event;
  private found: readonly AtWork[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly studio: Pick<Studio, 'engine' | 'output'>) {}

  all(): readonly AtWork[] {
    return this.found;
  }

  /** Looks now, and again and again as long as the list is in sight. */
  watch(visible: boolean): void {
    clearInterval(this.timer);
    this.timer = undefined;
    if (!visible) return;
    void this.look();
    this.timer = setInterval(() => void this.look(), EVERY_MS);
  }

  async look(): Promise<void> {
    try {
      const all = await workersOf(jobSettings().cache ?? cacheFolder());
      const own = await this.studio.engine.pid();
      const others = all.filter(worker => !isSelf(worker, own));
      if (JSON.stringify(others) === JSON.stringify(this.found)) return;
      this.found = others;
      this.changed.fire();
    } catch (error) {
      this.studio.output.debug(`Who is at work on the cache is not known: ${LqError.from(error).message}`);
    }
  }

  dispose(): void {
    clearInterval(this.timer);
    this.changed.dispose();
  }
}
