import type * as vscode from 'vscode';

/** Called by VS Code on first use. Registers what the manifest contributes; opens nothing, starts nothing. */
export function activate(context: vscode.ExtensionContext): void {
  context.subscriptions.push({ dispose: () => undefined });
}
