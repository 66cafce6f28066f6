import * as vscode from 'vscode';
import type { Sayable } from '../../core/requests/requests';
import { commandLine } from '../model/command-line';
import { isActive, isResumable, type Job } from '../model/jobs';
import { openRun } from '../open-run';
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
    removeRun: async (given?: string) => {
      const job = await choose(given, 'Run to remove from the list', each => !isActive(each));
      if (job) await jobs.remove(job.id);
    },
    openRun: async (given?: string) => {
      const job = await choose(given, 'Result to show', () => true);
      if (job) await openRun(studio, job);
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
  }
}
