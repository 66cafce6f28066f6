import * as path from 'node:path';
import * as vscode from 'vscode';
import { nodeFiles } from '../node/files';
import type { HealthFinding } from '../core/analysis/types';
import { shownName } from './model/describe';
import type { Checkpoints } from './checkpoints';
import type { Model } from './model/models';

const severities: Record<HealthFinding['severity'], vscode.DiagnosticSeverity> = {
  error: vscode.DiagnosticSeverity.Error,
  warning: vscode.DiagnosticSeverity.Warning,
  information: vscode.DiagnosticSeverity.Information,
};

/** What was checked: a checkpoint, or a file that could not be opened as one. */
type Subject = Pick<Model, 'path' | 'file'>;

/** Findings of health checks in the Problems panel, until the checkpoint's next check or its removal. */
export class HealthProblems implements vscode.Disposable {
  private readonly collection = vscode.languages.createDiagnosticCollection('LQ Studio');
  /** What has findings, and in which files, by its path. */
  private readonly checked = new Map<string, { subject: Subject; files: Set<string> }>();
  private readonly subscription: vscode.Disposable;

  constructor(checkpoints: Checkpoints) {
    this.subscription = checkpoints.onDidChange(() => void this.forgetRemoved());
  }

  async show(model: Subject, findings: readonly HealthFinding[]): Promise<void> {
    this.clear(model);
    const lines = await indexLines(model.file);
    const byFile = new Map<string, vscode.Diagnostic[]>();
    for (const finding of findings) {
      const place = placeOf(finding, model, lines);
      const diagnostic = new vscode.Diagnostic(place.range, messageOf(finding), severities[finding.severity]);
      diagnostic.source = 'LQ Studio';
      diagnostic.code = finding.code;
      byFile.set(place.file, [...(byFile.get(place.file) ?? []), diagnostic]);
    }
    for (const [file, diagnostics] of byFile) this.collection.set(vscode.Uri.file(file), diagnostics);
    if (byFile.size > 0) this.checked.set(model.path, { subject: model, files: new Set(byFile.keys()) });
  }

  dispose(): void {
    this.subscription.dispose();
    this.collection.dispose();
  }

  private clear({ path: whole, file }: Subject): void {
    // What could not be opened went by its file, and may be the whole of a folder now.
    for (const key of [whole, file]) {
      for (const each of this.checked.get(key)?.files ?? []) this.collection.delete(vscode.Uri.file(each));
      this.checked.delete(key);
    }
  }

  private async forgetRemoved(): Promise<void> {
    for (const { subject } of [...this.checked.values()]) {
      if ((await nodeFiles.stat(subject.file)) === undefined) this.clear(subject);
    }
  }
}

function messageOf({ message, tensor }: HealthFinding): string {
  const text = shownName(message, 1000);
  return tensor === undefined || text.includes(tensor) ? text : `${shownName(tensor)}: ${text}`;
}

/**
 * A finding about a tensor or a missing file points into the index where that is text; anything else at the head of its
 * file.
 */
function placeOf(
  { file, tensor, code }: HealthFinding,
  model: Subject,
  lines: readonly string[],
): { file: string; range: vscode.Range } {
  const where = file ?? model.file;
  const sought = code === 'shard-missing' ? path.basename(where) : where === model.file ? tensor : undefined;
  const line = sought === undefined ? -1 : lines.findIndex(each => each.includes(JSON.stringify(sought)));
  if (line < 0) return { file: code === 'shard-missing' ? model.file : where, range: new vscode.Range(0, 0, 0, 0) };
  const start = lines[line]!.indexOf(JSON.stringify(sought));
  return { file: model.file, range: new vscode.Range(line, start, line, start + JSON.stringify(sought).length) };
}

async function indexLines(file: string): Promise<string[]> {
  if (!file.endsWith('.index.json')) return [];
  const bytes = await vscode.workspace.fs.readFile(vscode.Uri.file(file));
  return new TextDecoder().decode(bytes).split('\n');
}
