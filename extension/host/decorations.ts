import * as vscode from 'vscode';
import { formatBits, formatCount, formatInteger } from '../core/format';
import type { Checkpoints } from './checkpoints';
import { dtypeLabel } from './model/header';
import type { Model, Models } from './model/models';
import { decorationsEnabled, onSettings } from './settings';

/** Badge and tooltip of safetensors files, indexes and GGUF files in the Explorer: parameters, type, bits per weight. */
export class Decorations implements vscode.FileDecorationProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeFileDecorations = this.changed.event;
  private readonly disposables: { dispose(): void }[];

  constructor(
    private readonly models: Models,
    checkpoints: Checkpoints,
  ) {
    const refresh = () => this.changed.fire(undefined);
    this.disposables = [
      this.changed,
      checkpoints.onDidChange(refresh),
      onSettings(['decorations'], refresh),
      vscode.window.registerFileDecorationProvider(this),
    ];
  }

  async provideFileDecoration(uri: vscode.Uri): Promise<vscode.FileDecoration | undefined> {
    if (uri.scheme !== 'file' || !/\.(?:safetensors(?:\.index\.json)?|gguf)$/.test(uri.path) || !decorationsEnabled())
      return;
    try {
      return decorationOf(await this.models.open(uri.fsPath));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return new vscode.FileDecoration('!', `Not readable: ${message}`, new vscode.ThemeColor('list.errorForeground'));
    }
  }

  dispose(): void {
    for (const disposable of this.disposables) disposable.dispose();
  }
}

function decorationOf({ index, tensors, header }: Model): vscode.FileDecoration {
  const errors = index.problems.filter(problem => problem.severity === 'error');
  const facts = [
    `${formatCount(header.parameters)} parameters (${formatInteger(header.parameters)})`,
    dtypeLabel(tensors),
    `${formatBits(header.bitsPerWeight)} bits per weight`,
  ].join(' · ');
  if (errors.length > 0) {
    const message = `${facts}\n${errors
      .slice(0, 3)
      .map(problem => problem.message)
      .join('\n')}`;
    return new vscode.FileDecoration('!', message, new vscode.ThemeColor('list.errorForeground'));
  }
  // Two characters at most: whole bits, of the exact number that the tooltip gives.
  const badge = header.parameters > 0 ? String(Math.min(99, Math.round(header.bitsPerWeight))) : undefined;
  return new vscode.FileDecoration(badge, facts);
}
