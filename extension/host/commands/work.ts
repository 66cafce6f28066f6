import * as path from 'node:path';
import * as vscode from 'vscode';
import { structureFindings } from '../../core/analysis/health';
import { LqError } from '../../core/errors';
import type { HealthFinding } from '../../core/analysis/types';
import type { Progress } from '../../core/progress';
import { requireTrust } from '../engine';
import type { HealthProblems } from '../health';
import type { Model } from '../model/models';
import { progressDetail } from '../model/progress';
import { outputBeside } from '../model/outcome';
import { pick, startFolder } from '../panels/common';
import { jobSettings } from '../settings';
import { startStatistics } from '../statistics';
import type { Studio } from '../studio';
import { localPath, modelFor, pickModel, type Argument } from './subject';

const lastText = 'lqStudio.evaluationText';

/** Commands that compute. */
export function workCommands(studio: Studio, problems: HealthProblems) {
  return {
    compress: async (argument: Argument) => {
      requireTrust();
      const model = await modelFor(studio, argument, 'Checkpoint to compress');
      if (model) await studio.navigate({ to: 'compress', model: model.path });
    },
    evaluate: async (argument: Argument) => {
      requireTrust();
      const model = await modelFor(studio, argument, 'Checkpoint to evaluate');
      const text = model && (await chooseText(studio));
      if (!model || text === undefined) return;
      const request = { ...jobSettings(), model: model.path, text };
      studio.jobs.start('evaluate', request, `Evaluate ${model.header.label}`);
      await studio.navigate({ to: 'perplexity', model: model.path });
    },
    export: async (argument: Argument) => {
      requireTrust();
      const model = await modelFor(studio, argument, 'Checkpoint to export');
      if (model) await exportModel(studio, model);
    },
    compare: async (argument: Argument, selected?: readonly vscode.Uri[]) => {
      const model = await modelFor(studio, argument, 'First checkpoint');
      if (!model) return;
      // Two files chosen in the Explorer are the two sides.
      const second = selected?.find(uri => argument instanceof vscode.Uri && uri.toString() !== argument.toString());
      const other = second
        ? await studio.models.open(localPath(second))
        : await pickModel(studio, `Checkpoint to compare with ${model.header.label}`, { except: model });
      if (other) await studio.navigate({ to: 'compare', model: model.path, other: other.path });
    },
    checkHealth: async (argument: Argument) => {
      const model = await modelToCheck(studio, argument, problems);
      if (model) await checkHealth(studio, model, problems);
    },
    computeStatistics: async (argument: Argument) => {
      requireTrust();
      const model = await modelFor(studio, argument, 'Checkpoint whose statistics to compute');
      if (!model) return;
      const job = await startStatistics(studio, model);
      if (!job) vscode.window.setStatusBarMessage(`Statistics of ${model.header.label} were known already.`, 5000);
    },
  };
}

/** A notification with Cancel, whose signal reaches the native loop. */
function withProgress<T>(
  title: string,
  work: (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<T>,
): Thenable<T> {
  const location = vscode.ProgressLocation.Notification;
  return vscode.window.withProgress({ location, title, cancellable: true }, (progress, token) => {
    const controller = new AbortController();
    token.onCancellationRequested(() => controller.abort());
    let before = 0;
    return work(controller.signal, each => {
      const share = each.total > 0 ? (100 * each.done) / each.total : 0;
      progress.report({ message: progressDetail(each), increment: Math.max(0, share - before) });
      before = Math.max(before, share);
    });
  });
}

/** The text used last is one key away. */
async function chooseText(studio: Studio): Promise<string | undefined> {
  const last = studio.memento.get<string>(lastText);
  const browse = { label: '$(folder-opened) Choose a text…', path: undefined };
  const items = last === undefined ? [] : [{ label: path.basename(last), description: last, path: last }];
  const chosen =
    items.length === 0
      ? browse
      : await vscode.window.showQuickPick([...items, browse], { placeHolder: 'Text to evaluate on' });
  if (!chosen) return undefined;
  const text = chosen.path ?? (await pick('evaluation', last));
  if (text !== undefined) await studio.memento.update(lastText, text);
  return text;
}

async function exportModel(studio: Studio, model: Model): Promise<void> {
  // The formats bring their writers along, which nothing else here needs.
  const { exporters } = await import('../../core/export/exporters');
  const possible = exporters.filter(exporter => exporter.accepts(model.index));
  if (possible.length === 0)
    throw new LqError('usage', `${model.header.label} is stored in a form that no format of ours can be made from.`, {
      file: model.file,
    });
  const format = await vscode.window.showQuickPick(
    possible.map(({ id, label, description }) => ({ label, detail: description, id })),
    { placeHolder: `Format to export ${model.header.label} to` },
  );
  if (!format) return;
  const proposed = outputBeside(model, format.id, startFolder());
  const out = await vscode.window.showInputBox({
    title: `Export ${model.header.label}: ${format.label}`,
    prompt: 'Folder to write; it is made, and appears once it is whole.',
    value: proposed,
    valueSelection: [proposed.lastIndexOf(path.sep) + 1, proposed.length],
    validateInput: value => (path.isAbsolute(value) ? undefined : 'An absolute path is needed.'),
  });
  if (out === undefined) return;
  const overwrite = await mayWrite(out);
  if (overwrite === undefined) return;
  const request = { ...jobSettings(), model: model.path, format: format.id, out, overwrite };
  studio.jobs.start('export', request, `Export ${model.header.label} as ${format.id}`);
}

/** Whether a folder that exists is to be replaced; undefined when the user thought better of it. */
async function mayWrite(out: string): Promise<boolean | undefined> {
  try {
    await vscode.workspace.fs.stat(vscode.Uri.file(out));
  } catch {
    return false; // not there: nothing to ask
  }
  const message = `${path.basename(out)} exists already. Replace it?`;
  const replace = 'Replace';
  const chosen = await vscode.window.showWarningMessage(message, { modal: true }, replace);
  return chosen === replace ? true : undefined;
}

/** The checkpoint to check; one that cannot be opened has a single finding, the reason, which is shown here. */
async function modelToCheck(studio: Studio, argument: Argument, problems: HealthProblems): Promise<Model | undefined> {
  try {
    return await modelFor(studio, argument, 'Checkpoint to check', { broken: true });
  } catch (thrown) {
    const { code, message, file, tensor } = LqError.from(thrown);
    const isWeights = file !== undefined && /\.(?:safetensors(?:\.index\.json)?|gguf)$/.test(file);
    // What is not there at all has no place in the Problems panel.
    if (!isWeights || code === 'file-not-found') throw thrown;
    const finding = { severity: 'error', code, message, file, ...(tensor !== undefined && { tensor }) } as const;
    await problems.show({ path: file, file }, [finding]);
    void tell(path.basename(file), [finding], '');
    return undefined;
  }
}

async function checkHealth(studio: Studio, model: Model, problems: HealthProblems): Promise<void> {
  const headers = structureFindings(model.index.problems);
  if (!vscode.workspace.isTrusted) {
    await problems.show(model, headers);
    void tell(`Headers of ${model.header.label}`, headers, ' Values are checked once the workspace is trusted.');
    return;
  }
  const findings = await withProgress(`Checking ${model.header.label}`, (signal, onProgress) =>
    studio.engine.request('health', { ...jobSettings(), model: model.path }, { signal, onProgress }),
  );
  await problems.show(model, findings);
  void tell(model.header.label, findings, '');
}

async function tell(subject: string, findings: readonly HealthFinding[], more: string): Promise<void> {
  if (findings.length === 0) {
    void vscode.window.showInformationMessage(`${subject}: no problems found.${more}`);
    return;
  }
  const counted = findings.length === 1 ? 'one problem' : `${findings.length} problems`;
  const show = 'Show Problems';
  const chosen = await vscode.window.showWarningMessage(`${subject}: ${counted} found.${more}`, show);
  if (chosen === show) await vscode.commands.executeCommand('workbench.actions.view.problems');
}
