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
import type { Elsewhere, Workers } from './workers';

/**
 * The view of jobs at work, left behind and finished, newest first. Its elements are their ids: a job is another object
 * after every change, and a line is repainted only for the element it was painted with.
 */
export class RunTree implements vscode.TreeDataProvider<string>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<string | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly stop: () => void;

  private readonly jobs: JobManager;

  /** @param workers processes elsewhere that share the cache: a line a job over all of its workers, which opens to each */
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
    const lines = elsewhereLines(this.workers?.all());
    if (element !== undefined) return [...(lines.get(element)?.children.keys() ?? [])];
    const all = this.jobs.all();
    const jobs = [...all.filter(job => job.pinned), ...all.filter(job => !job.pinned)].map(job => job.id);
    return [...lines.keys(), ...jobs];
  }

  async getTreeItem(id: string): Promise<vscode.TreeItem> {
    if (id.startsWith(ELSEWHERE)) return elsewhereItem(id, elsewhereLines(this.workers?.all()));
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

/** How elements that are no jobs of this list begin. No id of a job does. */
const ELSEWHERE = 'elsewhere:';

/** A line over work that others do on the cache, and those under it, by element. */
interface ElsewhereLine {
  readonly label: string;
  readonly description: string;
  readonly children: ReadonlyMap<string, { readonly label: string; readonly description: string }>;
}

function elsewhereLines({ jobs, pieces }: Elsewhere = { jobs: [], pieces: [] }): Map<string, ElsewhereLine> {
  const lines = new Map<string, ElsewhereLine>();
  const add = (label: string, description: readonly (string | false)[], children: [string, string][]): void => {
    const id = `${ELSEWHERE}${lines.size}`;
    lines.set(id, {
      label,
      description: description.filter(Boolean).join(', '),
      children: new Map(children.map(([name, what], i) => [`${id}/${i}`, { label: name, description: what }])),
    });
  };
  const ownerOf = ({ host, pid }: { readonly host: string; readonly pid: number }): string => `${host}, process ${pid}`;
  const saying = ({ kind, share }: AtWork): string => `${kind}, ${formatPercent(share)}`;
  const on = (where: readonly { readonly host: string }[]): string | false => {
    const hosts = new Set(where.map(({ host }) => host));
    return hosts.size > 1 && `on ${hosts.size} hosts`;
  };
  for (const { label, stages, workers } of jobs)
    add(
      shownName(label),
      [
        ...stages.map(({ stage, done, total }) => formatProgress({ stage, done, total, count: { done, total } })),
        [workers.length === 1 ? '1 worker' : `${workers.length} workers`, on(workers)].filter(Boolean).join(' '),
      ],
      workers.map(worker => [
        ownerOf(worker),
        [worker.worker, ...pieces.filter(piece => ownerOf(piece) === ownerOf(worker)).map(saying)].join(', '),
      ]),
    );
  const known = new Set(jobs.flatMap(({ workers }) => workers.map(ownerOf)));
  const other = pieces.filter(piece => !known.has(ownerOf(piece)));
  if (other.length > 0)
    add(
      'At work on the cache',
      [[other.length === 1 ? '1 piece' : `${other.length} pieces`, on(other)].filter(Boolean).join(' ')],
      other.map(piece => [ownerOf(piece), saying(piece)]),
    );
  return lines;
}

function elsewhereItem(id: string, lines: ReadonlyMap<string, ElsewhereLine>): vscode.TreeItem {
  const line = lines.get(id);
  const below = lines.get(id.split('/')[0]!)?.children.get(id);
  const item = new vscode.TreeItem(
    (line ?? below)?.label ?? 'Ended',
    line ? vscode.TreeItemCollapsibleState.Expanded : vscode.TreeItemCollapsibleState.None,
  );
  item.description = (line ?? below)?.description ?? '';
  item.iconPath = new vscode.ThemeIcon(line ? 'server-process' : 'loading~spin');
  item.tooltip = line && 'Work that other processes do on this cache folder, by their last word';
  item.contextValue = line ? 'workers' : 'worker';
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
