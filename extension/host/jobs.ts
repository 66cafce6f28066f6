import { randomBytes } from 'node:crypto';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import { formatBytes } from '../core/format';
import { cleanFolder } from '../node/cache';
import type { Engine } from './engine';
import { openRun, placeOf } from './open-run';
import { isActive, isJob, isResumable, JobManager, type Job } from './model/jobs';
import type { Models } from './model/models';
import { RecordStore } from './model/records';
import { messageOf } from './notify';
import { summary } from './runs';
import { cacheLimit, jobSettings } from './settings';
import type { Studio } from './studio';

/** Where the window's jobs are remembered. */
export const createJobStore = (folder: string, output: vscode.LogOutputChannel): RecordStore<Job> =>
  new RecordStore<Job>(path.join(folder, 'jobs'), isJob, message => output.warn(message));

/** The window's job manager. */
export function createJobs(
  engine: Engine,
  store: RecordStore<Job>,
  models: Models,
  output: vscode.LogOutputChannel,
): JobManager {
  return new JobManager({
    engine,
    store,
    owner: process.pid,
    alive,
    now: () => Date.now(),
    id: () => `${new Date().toISOString().replace(/[^\dT]/g, '')}-${randomBytes(3).toString('hex')}`,
    warn: message => output.warn(message),
    version: path =>
      models.reopen(path).then(
        ({ version }) => version,
        () => undefined, // what cannot be opened fails with its own reason when it is worked on
      ),
  });
}

function alive(pid: number): boolean {
  if (pid === process.pid) return false; // the number of an earlier process, come round again
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** How often a job of a process that still runs is looked at again: a closed window takes a while to end. */
const lookAgainMs = 5000;
/** A job whose window was there so recently was cut off by a reload: it goes on by itself. */
const reloadMs = 120_000;

/**
 * Brings back the jobs of the last session: what a reload cut off goes on, what was left behind longer ago is offered.
 * Follows the jobs of other windows on the same store. Tells of the end of every job of this window, with the actions that
 * follow from it.
 */
export function watchJobs(studio: Studio, store: RecordStore<Job>, onRestored: () => void): { dispose(): void } {
  let timer: NodeJS.Timeout | undefined;
  let disposed = false;
  const restore = async () => {
    const { interrupted, elsewhere } = await studio.jobs.restore();
    onRestored();
    for (const job of interrupted) bringBack(studio, job);
    clearTimeout(timer);
    if (elsewhere.length > 0 && !disposed) timer = setTimeout(attempt, lookAgainMs);
  };
  const attempt = () => {
    restore().catch((error: unknown) => {
      studio.output.error(`Jobs cannot be brought back: ${LqError.from(error).message}`);
    });
  };
  attempt();
  let unwatch: (() => void) | undefined;
  store.watch(attempt).then(
    end => (disposed ? end() : (unwatch = end)),
    (error: unknown) => studio.output.warn(`Other windows are not followed: ${LqError.from(error).message}`),
  );
  const atWork = new Set<string>();
  const stop = studio.jobs.onChange(job => {
    if (studio.jobs.isElsewhere(job)) return;
    if (isActive(job)) atWork.add(job.id);
    else if (atWork.delete(job.id)) {
      void tell(studio, job);
      if (atWork.size === 0) void keepWithinLimit(studio);
    }
  });
  return {
    dispose: () => {
      disposed = true;
      clearTimeout(timer);
      unwatch?.();
      stop();
    },
  };
}

function bringBack(studio: Studio, job: Job): void {
  const { seen = job.started ?? job.created } = job;
  const reloaded = job.error === undefined && Date.now() - seen < reloadMs;
  if (!reloaded || !vscode.workspace.isTrusted) return void offerResume(studio, job);
  studio.output.info(`${job.title} was cut off and goes on.`);
  studio.jobs.resume(job.id);
}

/** Once nothing is at work, the cache is brought within the size that the settings allow. */
async function keepWithinLimit({ engine, output }: Studio): Promise<void> {
  const limit = cacheLimit();
  // An engine that died is left to the user, who is asked about it.
  if (limit === 0 || engine.state.state !== 'running') return;
  try {
    const { cache } = await engine.request('doctor', jobSettings());
    if (cache.bytes <= limit) return;
    const { removedBytes } = await cleanFolder(cache.folder, limit);
    output.info(`Removed ${formatBytes(removedBytes)} of cached results to stay within ${formatBytes(limit)}`);
  } catch (error) {
    output.warn(`The cache was not brought within its limit: ${LqError.from(error).message}`);
  }
}

async function tell(studio: Studio, job: Job): Promise<void> {
  studio.output.info(`${job.title}: ${job.status} ${summary(job)}`);
  if (job.status === 'done') await offerNext(studio, job);
  if (job.status === 'interrupted') await offerResume(studio, job);
  if (job.status === 'failed' && job.error) {
    // Asking for the same again helps where the machine was at fault; otherwise the request has to change.
    const [again, show] = ['Try Again', 'Show'];
    const message = `${job.title}: ${messageOf(LqError.fromData(job.error))}`;
    const chosen = await vscode.window.showErrorMessage(message, ...(isResumable(job) ? [again] : []), show);
    if (chosen === again) studio.jobs.resume(job.id);
    else if (chosen === show) await openRun(studio, job);
  }
}

async function offerResume(studio: Studio, job: Job): Promise<void> {
  const reason = job.error === undefined ? '' : ` ${messageOf(LqError.fromData(job.error))}`;
  const message = `${job.title} was interrupted.${reason} Finished work is kept.`;
  const resume = job.error === undefined ? 'Resume' : 'Restart and Resume';
  const chosen = await vscode.window.showWarningMessage(message, resume, 'Discard');
  if (chosen === resume) {
    if (job.error !== undefined) studio.engine.restart();
    studio.jobs.resume(job.id);
  } else if (chosen === 'Discard' && studio.jobs.get(job.id)?.status === 'interrupted')
    await studio.jobs.remove(job.id);
}

async function offerNext(studio: Studio, job: Job): Promise<void> {
  const done = `${job.title}: ${summary(job)}`;
  // Every view that shows it has it already.
  if (job.method === 'statistics' || studio.isShown(placeOf(job))) {
    vscode.window.setStatusBarMessage(`${done}.`, 5000);
    return;
  }
  const actions: Record<string, () => unknown> = {};
  if (job.method === 'compress' && job.result) {
    const { output } = job.result;
    actions['Open Result'] = () => studio.navigate({ to: 'checkpoint', model: output });
    actions['Heatmap'] = () => studio.navigate({ to: 'heatmap', model: job.params.model });
    actions['Evaluate'] = () => vscode.commands.executeCommand('lqStudio.evaluate', { model: output });
  } else if (job.method === 'evaluate') {
    actions['Show Runs'] = () => studio.navigate({ to: 'perplexity', model: job.params.model });
  } else if (job.method === 'export' && job.result) {
    const { out } = job.result;
    actions['Open Result'] = () => studio.navigate({ to: 'checkpoint', model: out });
  } else if (job.method === 'sweep') {
    actions['Allocation'] = () => studio.navigate({ to: 'allocation', model: job.params.model });
  } else if (job.method === 'compare' || job.method === 'methods') {
    actions[job.method === 'compare' ? 'Show Differences' : 'Show Methods'] = () => openRun(studio, job);
  }
  const chosen = await vscode.window.showInformationMessage(done, ...Object.keys(actions));
  if (chosen !== undefined) await actions[chosen]?.();
}
