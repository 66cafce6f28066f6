import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import type { AtWork } from '../core/storage/cache-folder';
import type { SharedJob } from '../core/storage/posts';
import { cacheFolder, isSelf, jobsOf, workersOf } from '../node/cache';
import { jobSettings } from './settings';
import type { Studio } from './studio';

/** How often the cache folder is looked at while the list of runs is in sight. */
const EVERY_MS = 5000;

/** What is done on a cache folder by others. */
export interface Elsewhere {
  readonly jobs: readonly SharedJob[];
  /** Pieces of work, those of the jobs among them. */
  readonly pieces: readonly AtWork[];
}

/** Processes beside this window's engine that work on its cache folder: the command line, other windows, a cluster's workers. */
export class Workers implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changed.event;
  private found: Elsewhere = { jobs: [], pieces: [] };
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly studio: Pick<Studio, 'engine' | 'output'>) {}

  all(): Elsewhere {
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
      const folder = jobSettings().cache ?? cacheFolder();
      const own = await this.studio.engine.pid();
      const pieces = (await workersOf(folder)).filter(worker => !isSelf(worker, own));
      const others: Elsewhere = { jobs: await jobsOf(folder), pieces };
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
