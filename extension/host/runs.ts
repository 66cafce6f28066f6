import * as vscode from 'vscode';
import {
  baseName,
  formatBits,
  formatBytes,
  formatDate,
  formatDuration,
  formatNumber,
  formatProgress,
} from '../core/format';
import { methodLabel, shownName } from './model/describe';
import { isActive, isResumable, type Job, type JobManager, type JobStatus } from './model/jobs';
import { isOlder } from './older';
import type { Studio } from './studio';

/**
 * The view of jobs at work, left behind and finished, newest first. Its elements are their ids: a job is another object
 * after every change, and a line is repainted only for the element it was painted with.
 */
export class RunTree implements vscode.TreeDataProvider<string>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<string | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly stop: () => void;

  private readonly jobs: JobManager;

  constructor(private readonly studio: Pick<Studio, 'jobs' | 'models'>) {
    this.jobs = studio.jobs;
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
    if (element !== undefined) return [];
    const all = this.jobs.all();
    return [...all.filter(job => job.pinned), ...all.filter(job => !job.pinned)].map(job => job.id);
  }

  async getTreeItem(id: string): Promise<vscode.TreeItem> {
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
