import * as vscode from 'vscode';
import { formatBytes } from '../../core/format';
import { cleanFolder } from '../../node/cache';
import type { DoctorReport } from '../../protocol/engine';
import { jobSettings } from '../settings';
import type { Studio } from '../studio';

/** Commands about the extension itself. */
export function serviceCommands(studio: Studio) {
  const { engine, output, jobs } = studio;
  return {
    restartEngine: async () => {
      engine.restart();
      const report = await engine.request('doctor', jobSettings());
      vscode.window.setStatusBarMessage(
        `The engine runs on ${report.devices.map(({ name }) => name).join(', ')}.`,
        5000,
      );
      const interrupted = jobs.all().filter(job => job.status === 'interrupted');
      if (interrupted.length === 0) return;
      const resume = 'Resume';
      const message = `The engine is back. ${interrupted.length === 1 ? interrupted[0]!.title : `${interrupted.length} jobs`} can go on.`;
      if ((await vscode.window.showInformationMessage(message, resume)) !== resume) return;
      for (const job of interrupted) jobs.resume(job.id);
    },
    doctor: async () => {
      const report = await engine.request('doctor', jobSettings());
      output.info(describeEnvironment(report));
      const [text, tell] = verdict(report);
      const show = 'Show Details';
      if ((await tell(text, show)) === show) output.show();
    },
    clearCache: async () => {
      const { cache } = await engine.request('doctor', jobSettings());
      const clear = 'Clear';
      const detail =
        `${cache.entries} results, ${formatBytes(cache.bytes)}, in ${cache.folder}. Interrupted jobs start from the ` +
        'beginning; finished checkpoints, what jobs at work need and all other files stay.';
      const chosen = await vscode.window.showWarningMessage(
        'Remove all cached statistics, Fisher information and sweeps?',
        { modal: true, detail },
        clear,
      );
      if (chosen !== clear) return;
      const { removedBytes, inUse } = await cleanFolder(cache.folder, 0);
      const kept = inUse > 0 ? ` ${inUse} results in use were kept.` : '';
      void vscode.window.showInformationMessage(`Removed ${formatBytes(removedBytes)} of cached results.${kept}`);
    },
    showOutput: () => output.show(),
    openSettings: async () => {
      await vscode.commands.executeCommand('workbench.action.openSettings', '@ext:lq-studio.lq-studio');
    },
    openWalkthrough: async () => {
      await vscode.commands.executeCommand('workbench.action.openWalkthrough', 'lq-studio.lq-studio#start');
    },
  };
}

/** What was found in one sentence, and how loud it is said. */
function verdict({
  devices,
  problems,
}: DoctorReport): [string, (text: string, action: string) => Thenable<string | undefined>] {
  const found = devices.map(({ name }) => name).join(', ');
  if (problems.length === 0)
    return [`Everything needed is there. Computing on ${found}.`, vscode.window.showInformationMessage];
  const more = problems.length > 1 ? ` and ${problems.length - 1} more` : '';
  return [`Computing on ${found}. ${problems[0]}${more}`, vscode.window.showWarningMessage];
}

function describeEnvironment(report: DoctorReport): string {
  return [
    `LQ Studio ${report.version}, Node ${report.node} on ${report.platform}`,
    `Native module ${report.native.version}: ${report.native.path}`,
    ...report.devices.map(
      ({ id, name, detail, memoryTotal, memoryFree }) =>
        `Device ${id}: ${name}, ${detail}, ${formatBytes(memoryFree)} of ${formatBytes(memoryTotal)} free`,
    ),
    ...report.libraries.map(({ name, path }) => `${name}: ${path}`),
    `Cache: ${formatBytes(report.cache.bytes)} in ${report.cache.folder}`,
    ...report.problems.map(problem => `Problem: ${problem}`),
  ].join('\n');
}
