import * as path from 'node:path';
import * as vscode from 'vscode';
import type { HealthFinding } from '../protocol/engine';
import { shownName } from './model/describe';
import type { Model } from './model/models';

const severities: Record<HealthFinding['severity'], vscode.DiagnosticSeverity> = {
  error: vscode.DiagnosticSeverity.Error,
  warning: vscode.DiagnosticSeverity.Warning,
  information: vscode.DiagnosticSeverity.Information,
};

/** Findings of health checks in the Problems panel, those of a checkpoint replaced by its next check. */
export class HealthProblems implements vscode.Disposable {
  private readonly collection = vscode.languages.createDiagnosticCollection('LQ Studio');
  /** Files with findings, by checkpoint. */
  private readonly files = new Map<string, Set<string>>();

  async show(model: Model, findings: readonly HealthFinding[]): Promise<void> {
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
    this.files.set(model.path, new Set(byFile.keys()));
  }

  clear(model: Model): void {
    for (const file of this.files.get(model.path) ?? []) this.collection.delete(vscode.Uri.file(file));
    this.files.delete(model.path);
  }

  dispose(): void {
    this.collection.dispose();
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
  model: Model,
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
