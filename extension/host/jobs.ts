import { randomBytes } from 'node:crypto';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import { formatBytes } from '../core/format';
import type { Engine } from './engine';
import { limitCache } from './model/cache-limit';
import { isActive, isJob, JobManager, type Job } from './model/jobs';
import { RecordStore } from './model/records';
import { messageOf } from './notify';
import { summary } from './runs';
import { cacheLimit, jobSettings } from './settings';
import type { Studio } from './studio';

/** The window's job manager, remembered under `folder`. */
export function createJobs(engine: Engine, folder: string, output: vscode.LogOutputChannel): JobManager {
  const warn = (message: string) => output.warn(message);
  return new JobManager({
    engine,
    store: new RecordStore<Job>(path.join(folder, 'jobs'), isJob, warn),
    owner: process.pid,
    alive,
    now: () => Date.now(),
    id: () => `${new Date().toISOString().replace(/[^\dT]/g, '')}-${randomBytes(3).toString('hex')}`,
    warn,
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

/**
 * Brings back the jobs of the last session and offers to go on with what was interrupted; then tells of every job's end
 * with the actions that follow from it.
 */
export function watchJobs(studio: Studio, onRestored: () => void): { dispose(): void } {
  let timer: NodeJS.Timeout | undefined;
  const restore = async () => {
    const { interrupted, elsewhere } = await studio.jobs.restore();
    onRestored();
    for (const job of interrupted) void offerResume(studio, job);
    if (elsewhere.length > 0) timer = setTimeout(attempt, lookAgainMs);
  };
  const attempt = () => {
    restore().catch((error: unknown) => {
      studio.output.error(`Jobs cannot be brought back: ${LqError.from(error).message}`);
    });
  };
  attempt();
  const atWork = new Set<string>();
  const stop = studio.jobs.onChange(job => {
    if (isActive(job)) atWork.add(job.id);
    else if (atWork.delete(job.id)) {
      void tell(studio, job);
      if (atWork.size === 0) void keepWithinLimit(studio);
    }
  });
  return {
    dispose: () => {
      clearTimeout(timer);
      stop();
    },
  };
}

/** Once nothing is at work, the cache is brought within the size that the settings allow. */
async function keepWithinLimit({ engine, output }: Studio): Promise<void> {
  const limit = cacheLimit();
  // An engine that died is left to the user, who is asked about it.
  if (limit === 0 || engine.state.state !== 'running') return;
  try {
    const { cache } = await engine.request('doctor', jobSettings());
    if (cache.bytes <= limit) return;
    const removed = await limitCache(cache.folder, limit);
    output.info(`Removed ${formatBytes(removed)} of cached results to stay within ${formatBytes(limit)}`);
  } catch (error) {
    output.warn(`The cache was not brought within its limit: ${LqError.from(error).message}`);
  }
}

async function tell(studio: Studio, job: Job): Promise<void> {
  studio.output.info(`${job.title}: ${job.status} ${summary(job)}`);
  if (job.status === 'done') await offerNext(studio, job);
  if (job.status === 'interrupted') await offerResume(studio, job);
  if (job.status === 'failed' && job.error) {
    const retry = 'Try Again';
    const message = `${job.title}: ${messageOf(LqError.fromData(job.error))}`;
    const chosen = await vscode.window.showErrorMessage(message, retry, 'Show Output');
    if (chosen === retry) studio.jobs.resume(job.id);
    else if (chosen !== undefined) studio.output.show();
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
  }
  const chosen = await vscode.window.showInformationMessage(done, ...Object.keys(actions));
  if (chosen !== undefined) await actions[chosen]?.();
}
