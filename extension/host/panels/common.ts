import * as os from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Handlers } from '../../protocol/channel';
import type { CommonRequests, JobView, PanelTarget, SavedFile } from '../../protocol/panels';
import { commandLine } from '../model/command-line';
import { isActive, type Job } from '../model/jobs';
import { jobView, type Standing } from '../model/outcome';
import { concerning } from '../model/related';
import { isOlder } from '../older';
import type { Studio } from '../studio';

const fileTypes: Record<SavedFile['type'], string> = { csv: 'CSV', json: 'JSON', md: 'Markdown', png: 'PNG' };

/** What every panel may ask. */
export function commonHandlers(studio: Studio, target: PanelTarget): Omit<Handlers<CommonRequests>, 'selected'> {
  return {
    save: async file => {
      const target = await vscode.window.showSaveDialog({
        defaultUri: vscode.Uri.file(path.join(startFolder(), file.name)),
        filters: { [fileTypes[file.type]]: [file.type] },
      });
      if (!target) return {};
      await vscode.workspace.fs.writeFile(target, contents(file));
      return { path: target.fsPath };
    },
    copy: async ({ text }) => {
      await vscode.env.clipboard.writeText(text);
      return null;
    },
    copyCommand: async command => {
      const text = commandLine(command);
      await vscode.env.clipboard.writeText(text);
      return { text };
    },
    navigate: async destination => {
      await studio.navigate(destination);
      return null;
    },
    openPath: async ({ path: given }) => {
      await openPath(given);
      return null;
    },
    pick: async ({ what, current }) => {
      const picked = await pick(what, current);
      return picked === undefined ? {} : { path: picked };
    },
    jobs: () => jobsOf(studio, target),
    cancelJob: ({ job }) => {
      studio.jobs.cancel(job);
      return null;
    },
    resumeJob: ({ job }) => {
      studio.jobs.resume(job);
      return null;
    },
    removeJob: async ({ job }) => {
      await studio.jobs.remove(job);
      return null;
    },
  };
}

/** What is at work on a panel's checkpoints, or stopped before its end. */
export async function jobsOf(studio: Studio, { model, other }: PanelTarget): Promise<JobView[]> {
  const all = studio.jobs.all();
  const subjects = [model, other].filter(each => each !== undefined);
  const concerned = new Set(subjects.flatMap(each => concerning(all, each)));
  const shown = all.filter(job => job.status !== 'done' && concerned.has(job));
  return Promise.all(shown.map(async job => jobView(job, await standingOf(studio, job))));
}

/** What of a job only this window knows. */
export const standingOf = async (studio: Studio, job: Job): Promise<Standing> => ({
  elsewhere: studio.jobs.isElsewhere(job),
  older: !isActive(job) && (await isOlder(studio, job)),
});

/** Opens a file in the editor; a folder is revealed in the Explorer, or in the file manager when it is of no workspace. */
export async function openPath(given: string): Promise<void> {
  const uri = vscode.Uri.file(given);
  const { type } = await vscode.workspace.fs.stat(uri);
  if (type !== vscode.FileType.Directory) await vscode.commands.executeCommand('vscode.open', uri);
  else if (vscode.workspace.getWorkspaceFolder(uri)) await vscode.commands.executeCommand('revealInExplorer', uri);
  else await vscode.commands.executeCommand('revealFileInOS', uri);
}

type Pick = CommonRequests['pick'][0]['what'];

const prompts: Record<Pick, { title: string; label: string; filters?: Record<string, string[]>; folders?: boolean }> = {
  calibration: { title: 'Calibration Text', label: 'Calibrate with This', filters: { Text: ['txt', 'md', '*'] } },
  evaluation: { title: 'Evaluation Text', label: 'Evaluate on This', filters: { Text: ['txt', 'md', '*'] } },
  fisher: { title: 'Fisher Information', label: 'Use', filters: { Safetensors: ['safetensors'] } },
  output: { title: 'Folder of the Result', label: 'Write Into', folders: true },
  checkpoint: { title: 'Checkpoint', label: 'Open', filters: { Checkpoint: ['safetensors', 'gguf', 'json'] } },
};

/** Asks for a file, or for the folder that is to hold a result. Undefined when dismissed. */
export async function pick(what: Pick, current?: string): Promise<string | undefined> {
  const { title, label, filters, folders = false } = prompts[what];
  const [chosen] =
    (await vscode.window.showOpenDialog({
      title,
      openLabel: label,
      canSelectFiles: !folders,
      canSelectFolders: folders,
      defaultUri: vscode.Uri.file(current === undefined ? startFolder() : path.dirname(current)),
      ...(filters && { filters }),
    })) ?? [];
  if (!chosen) return undefined;
  // The folder itself exists; the result gets one of its own within.
  return folders && current !== undefined ? path.join(chosen.fsPath, path.basename(current)) : chosen.fsPath;
}

/** Where dialogues begin and things without another place go: the first folder of the workspace, else home. */
export function startFolder(): string {
  const [first] = vscode.workspace.workspaceFolders ?? [];
  return first?.uri.scheme === 'file' ? first.uri.fsPath : os.homedir();
}

function contents({ type, data }: SavedFile): Uint8Array {
  return Buffer.from(data, type === 'png' ? 'base64' : 'utf8');
}
