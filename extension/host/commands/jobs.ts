import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { Sayable } from '../../core/requests/requests';
import { commandLine } from '../model/command-line';
import { isActive, isResumable, outputOf, subjectOf, type Job } from '../model/jobs';
import { openRun } from '../open-run';
import { openPath } from '../panels/common';
import { summary } from '../runs';
import type { Studio } from '../studio';

/** Commands about jobs and what came of them. */
export function jobCommands(studio: Studio) {
  const { jobs } = studio;
  const choose = async (given: string | undefined, placeholder: string, wanted: (job: Job) => boolean) => {
    if (given !== undefined) return jobs.get(given);
    const all = jobs.all().filter(wanted);
    if (all.length <= 1) return all[0];
    const items = all.map(job => ({ label: job.title, description: summary(job), job }));
    return (await vscode.window.showQuickPick(items, { placeHolder: placeholder }))?.job;
  };
  const pin = (pinned: boolean) => async (given?: string) => {
    const job = await choose(given, 'Run to keep at the top', each => (each.pinned ?? false) !== pinned);
    if (job) jobs.pin(job.id, pinned);
  };
  return {
    showJobs: async () => {
      await vscode.commands.executeCommand('lqStudio.runs.focus');
    },
    cancelJob: async (given?: string) => {
      const job = await choose(given, 'Job to cancel', each => isActive(each) && !jobs.isElsewhere(each));
      if (job) jobs.cancel(job.id);
    },
    resumeJob: async (given?: string) => {
      const job = await choose(given, 'Job to resume', isResumable);
      if (job) jobs.resume(job.id);
    },
    removeRun: async (given?: string, selected: readonly string[] = given === undefined ? [] : [given]) => {
      const job = await choose(given, 'Run to remove from the list', each => !isActive(each));
      for (const id of selected.length > 0 ? selected : job ? [job.id] : []) await jobs.remove(id);
    },
    clearFailed: async () => {
      for (const job of jobs.all()) if (isOver(job)) await jobs.remove(job.id);
    },
    openRun: async (given?: string) => {
      const job = await choose(given, 'Result to show', () => true);
      if (job) await openRun(studio, job);
    },
    showRunHeatmap: async (given?: string) => {
      const job = await choose(given, 'Compression whose heatmap to show', isCompressed);
      // The panel of what was made shows that compression, whatever came after it.
      if (job) await studio.navigate({ to: 'heatmap', model: outputOf(job) ?? subjectOf(job) });
    },
    revealRun: async (given?: string) => {
      const job = await choose(given, 'Run whose output to reveal', each => each.status === 'done' && !!outputOf(each));
      if (job) await openPath(outputOf(job) ?? subjectOf(job));
    },
    pinRun: pin(true),
    unpinRun: pin(false),
    compareRuns: async (given?: string, selected?: readonly string[]) => {
      const pinned = jobs.all().filter(job => job.pinned && job.id !== given);
      const ids = selected && selected.length > 1 ? selected : [given, ...pinned.map(({ id }) => id)];
      const [a, b, ...more] = ids.flatMap(id => (id === undefined ? [] : (jobs.get(id) ?? []))).map(resultOf);
      if (a === undefined || b === undefined || more.length > 0)
        throw new LqError('usage', 'Select two runs, or pin one and compare another with it.');
      await studio.navigate({ to: 'compare', model: a, other: b });
    },
    copyCommandLine: async (given?: string) => {
      const job = await choose(given, 'Job whose command line to copy', () => true);
      if (!job) return;
      const text = commandLine(commandOf(job));
      await vscode.env.clipboard.writeText(text);
      vscode.window.setStatusBarMessage(`Copied: ${text}`, 5000);
    },
  };
}

const isCompressed = (job: Job): boolean => job.method === 'compress' && job.status === 'done';

/** Whether a job ended without a result. */
const isOver = ({ status }: Job): boolean => status === 'failed' || status === 'cancelled';

/** The checkpoint that a run is about: what it made, or what it looked at. */
const resultOf = (job: Job): string =>
  job.method === 'compress' || job.method === 'export' ? job.params.out : subjectOf(job);

function commandOf(job: Job): Sayable {
  switch (job.method) {
    case 'compress':
      return { command: 'compress', request: job.params };
    case 'evaluate':
      return { command: 'evaluate', request: job.params };
    case 'sweep':
      return { command: 'sweep', request: job.params };
    case 'export':
      return { command: 'export', request: job.params };
    case 'statistics':
      return { command: 'stats', request: job.params };
    case 'compare':
      return { command: 'compare', request: job.params };
    case 'methods':
      return { command: 'methods', request: job.params };
  }
}
