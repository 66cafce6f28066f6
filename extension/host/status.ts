import * as vscode from 'vscode';
import { formatProgress } from '../core/format';
import type { Engine } from './engine';
import { isActive, isResumable, type Job, type JobManager } from './model/jobs';
import { progressDetail } from './model/progress';

/** One item in the status bar: the job at work, one that can be resumed, or an engine that died. Otherwise none. */
export class Status implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('lqStudio.status', vscode.StatusBarAlignment.Left, 0);
  private readonly disposables: { dispose(): void }[] = [this.item];

  constructor(
    private readonly engine: Engine,
    private readonly jobs: JobManager,
  ) {
    this.item.name = 'LQ Studio';
    this.disposables.push(
      engine.onDidChange(() => this.update()),
      { dispose: jobs.onChange(() => this.update()) },
    );
    this.update();
  }

  update(): void {
    const all = this.jobs.all();
    const busy = all.some(isActive);
    const left = all.find(job => job.status === 'interrupted');
    const interrupted = left !== undefined;
    void vscode.commands.executeCommand('setContext', 'lqStudio.busy', busy);
    void vscode.commands.executeCommand('setContext', 'lqStudio.interrupted', all.some(isResumable));
    void vscode.commands.executeCommand('setContext', 'lqStudio.hasRuns', all.length > 0);
    const current = this.jobs.current();
    if (current) this.show(...atWork(current, all.filter(isActive).length - 1), current);
    else if (this.engine.state.state === 'failed') this.showFailure();
    else if (interrupted) {
      this.show('$(debug-pause) LQ Studio: interrupted', 'A job was interrupted and can be resumed.', left);
    } else this.item.hide();
  }

  dispose(): void {
    for (const disposable of this.disposables) disposable.dispose();
  }

  private show(text: string, tooltip: string, job?: Job): void {
    this.item.text = text;
    this.item.tooltip = new vscode.MarkdownString().appendText(tooltip);
    this.item.command = job
      ? { title: 'Show Job', command: 'lqStudio.openRun', arguments: [job.id] }
      : 'lqStudio.showJobs';
    this.item.backgroundColor = undefined;
    this.item.show();
  }

  private showFailure(): void {
    this.show('$(error) LQ Studio: engine stopped', this.engine.state.reason ?? 'The engine stopped.');
    this.item.command = 'lqStudio.restartEngine';
    this.item.backgroundColor = new vscode.ThemeColor('statusBarItem.errorBackground');
  }
}

function atWork(job: Job, waiting: number): [text: string, tooltip: string] {
  const progress = job.progress ? formatProgress(job.progress) : 'starting';
  const detail = job.progress ? progressDetail(job.progress) : 'The engine is starting.';
  const more = waiting > 0 ? `\n${waiting} more waiting.` : '';
  return [`$(loading~spin) ${progress}`, `${job.title}\n${detail}${more}`];
}
