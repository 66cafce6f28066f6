import * as vscode from 'vscode';
import {
  baseName,
  formatBits,
  formatBytes,
  formatDate,
  formatDuration,
  formatNumber,
  formatPercent,
  formatProgress,
} from '../core/format';
import { methodLabel, shownName } from './model/describe';
import { isActive, isResumable, type Job, type JobManager, type JobStatus } from './model/jobs';
import { isOlder } from './older';
import type { AtWork } from '../core/storage/cache-folder';
import type { Studio } from './studio';
import type { Workers } from './workers';

/**
 * The view of jobs at work, left behind and finished, newest first. Its elements are their ids: a job is another object
 * after every change, and a line is repainted only for the element it was painted with.
 */
export class RunTree implements vscode.TreeDataProvider<string>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<string | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly stop: () => void;

  private readonly jobs: JobManager;

  /** @param workers processes elsewhere that share the cache: one line over all of them, which opens to each */
  constructor(
    private readonly studio: Pick<Studio, 'jobs' | 'models'>,
    private readonly workers?: Pick<Workers, 'all' | 'onDidChange'>,
  ) {
    this.jobs = studio.jobs;
    workers?.onDidChange(() => this.refresh());
    const statuses = new Map<string, JobStatus>();
    this.stop = this.jobs.onChange(job => {
      // A change of progress repaints one line, anything else may reorder them.
      const same =
        statuses.get(job.id) === job.status && job.status === 'running' && this.jobs.get(job.id) !== undefined;
      statuses.set(job.id, job.status);
      this.changed.fire(same ? job.id : undefined);
    });
  }

  refresh(): void {
    this.changed.fire(undefined);
  }

  getChildren(element?: string): string[] {
    const workers = this.workers?.all() ?? [];
    if (element === WORKERS) return workers.map((_, index) => `${WORKERS}${index}`);
    if (element !== undefined) return [];
    const all = this.jobs.all();
    const jobs = [...all.filter(job => job.pinned), ...all.filter(job => !job.pinned)].map(job => job.id);
    return workers.length > 0 ? [WORKERS, ...jobs] : jobs;
  }

  async getTreeItem(id: string): Promise<vscode.TreeItem> {
    if (id.startsWith(WORKERS)) return workerItem(id, this.workers?.all() ?? []);
    const job = this.jobs.get(id);
    if (!job) return new vscode.TreeItem('Removed');
    const elsewhere = this.jobs.isElsewhere(job);
    const older = job.status === 'done' && (await isOlder(this.studio, job));
    const item = new vscode.TreeItem(titleOf(job));
    item.id = id;
    item.description = [summary(job), elsewhere && 'in another window', older && 'of older files']
      .filter(Boolean)
      .join(', ');
    item.iconPath = job.pinned ? new vscode.ThemeIcon('pinned') : icon(job);
    item.tooltip = new vscode.MarkdownString().appendText(tooltip(job));
    item.contextValue = contextOf(job, elsewhere);
    item.command = { command: 'lqStudio.openRun', title: 'Show Result', arguments: [id] };
    item.accessibilityInformation = { label: `${job.title}, ${job.status}, ${item.description}` };
    return item;
  }

  dispose(): void {
    this.stop();
    this.changed.dispose();
  }
}

/** The line over all workers of the cache; with a number that of one. No id of a job begins so. */
const WORKERS = 'workers:';

function workerItem(id: string, workers: readonly AtWork[]): vscode.TreeItem {
  const one = workers[Number(id.slice(WORKERS.length))];
  if (id !== WORKERS && one !== undefined) {
    const item = new vscode.TreeItem(`${one.host}, process ${one.pid}`);
    item.description = `${one.kind}, ${formatPercent(one.share)}`;
    item.iconPath = new vscode.ThemeIcon('loading~spin');
    item.contextValue = 'worker';
    return item;
  }
  const hosts = new Set(workers.map(({ host }) => host));
  const item = new vscode.TreeItem('At work on the cache', vscode.TreeItemCollapsibleState.Expanded);
  item.description = [
    workers.length === 1 ? '1 piece' : `${workers.length} pieces`,
    hosts.size > 1 && `on ${hosts.size} hosts`,
  ]
    .filter(Boolean)
    .join(' ');
  item.iconPath = new vscode.ThemeIcon('server-process');
  item.tooltip = 'Pieces of work that other processes do on this cache folder, by their last word';
  item.contextValue = 'workers';
  return item;
}

/** What a line is called: what was made, where something was. */
function titleOf(job: Job): string {
  const made = job.status === 'done' && (job.method === 'compress' || job.method === 'export');
  return shownName(made ? baseName(job.params.out) : job.title);
}

/** What the menus of a line go by, such as `run.compress` or `run.evaluate.pinned`. */
function contextOf(job: Job, elsewhere: boolean): string {
  if (job.status === 'done') return `run.${job.method}${job.pinned ? '.pinned' : ''}`;
  if (elsewhere) return 'job.elsewhere';
  if (isActive(job)) return 'job.running';
  return isResumable(job) ? 'job.stopped.resumable' : 'job.stopped';
}

function icon(job: Job): vscode.ThemeIcon {
  const icons: Record<JobStatus, [id: string, color?: string]> = {
    queued: ['clock'],
    running: ['loading~spin'],
    done: ['pass', 'testing.iconPassed'],
    failed: ['error', 'problemsErrorIcon.foreground'],
    cancelled: ['circle-slash'],
    interrupted: ['debug-pause', 'problemsWarningIcon.foreground'],
  };
  const [id, color] = icons[job.status];
  return new vscode.ThemeIcon(id, color === undefined ? undefined : new vscode.ThemeColor(color));
}

/** What came of a job and when, or how far it is, on one line. */
export function summary(job: Job): string {
  switch (job.status) {
    case 'queued':
      return 'waiting';
    case 'running':
      return job.progress ? formatProgress(job.progress) : 'starting';
    case 'interrupted':
      return 'interrupted, can be resumed';
    case 'cancelled':
      return 'cancelled';
    case 'failed':
      return shownName(job.error?.message ?? 'failed');
    case 'done':
      return [outcome(job), job.ended !== undefined && formatDate(job.ended)].filter(Boolean).join(' · ');
  }
}

function outcome(job: Job): string {
  if (job.method === 'compress' && job.result) {
    const { effectiveBits, after } = job.result;
    const perplexity = after.perplexity === undefined ? '' : ` · perplexity ${formatNumber(after.perplexity)}`;
    const method = methodLabel(job.params.method ?? job.result.recipe.method);
    return `${formatBits(effectiveBits)} bits · ${formatBytes(after.bytes)} · ${method}${perplexity}`;
  }
  if (job.method === 'evaluate' && job.result) return `perplexity ${formatNumber(job.result.perplexity)}`;
  if (job.method === 'methods' && job.result) {
    const [best] = job.result.rows;
    const of = `${job.result.rows.length} at ${formatBits(job.result.effectiveBits)} bits`;
    return best?.perplexity === undefined ? of : `${of} · best ${best.label}, ${formatNumber(best.perplexity)}`;
  }
  if (job.method === 'export' && job.result) return formatBytes(job.result.bytes);
  return '';
}

function tooltip(job: Job): string {
  const taken =
    job.started !== undefined && job.ended !== undefined
      ? `Took ${formatDuration((job.ended - job.started) / 1000)}, ended ${formatDate(job.ended)}.`
      : `Started ${formatDate(job.started ?? job.created)}.`;
  const failure = job.error ? `\n${job.error.message}` : '';
  return `${job.title}: ${job.status}\n${taken}${failure}`;
}
