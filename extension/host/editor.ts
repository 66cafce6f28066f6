import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Panels } from './panels';

/** A file in the custom editor: read-only, its content asked for by the panel. */
interface CheckpointDocument extends vscode.CustomDocument {
  readonly uri: vscode.Uri;
}

/** One for shards and GGUF files, one that the index can be opened with. */
const editorTypes = ['lqStudio.checkpoint', 'lqStudio.checkpointIndex'] as const;

/** The read-only editor of `.safetensors` and `.gguf` files and, when chosen, of indexes. */
export class CheckpointEditor implements vscode.CustomReadonlyEditorProvider<CheckpointDocument>, vscode.Disposable {
  private readonly registrations: vscode.Disposable[];

  constructor(private readonly panels: Panels) {
    this.registrations = editorTypes.map(type =>
      vscode.window.registerCustomEditorProvider(type, this, { supportsMultipleEditorsPerDocument: true }),
    );
  }

  openCustomDocument(uri: vscode.Uri): CheckpointDocument {
    return { uri, dispose: () => undefined };
  }

  resolveCustomEditor({ uri }: CheckpointDocument, panel: vscode.WebviewPanel): void {
    if (uri.scheme !== 'file') {
      panel.webview.html = elsewhere;
      return;
    }
    const title = path.basename(uri.fsPath);
    this.panels.attach('checkpoint', panel, { model: uri.fsPath }, title);
  }

  dispose(): void {
    for (const registration of this.registrations) registration.dispose();
  }
}

/** Shows a checkpoint by the file that stands for it. */
export async function showCheckpoint(file: string): Promise<void> {
  const type = file.endsWith('.index.json') ? editorTypes[1] : editorTypes[0];
  await vscode.commands.executeCommand('vscode.openWith', vscode.Uri.file(file), type, { preview: true });
}

const elsewhere = `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'">
    <title>Checkpoint</title>
  </head>
  <body>
    <h1>Not on this machine</h1>
    <p>Checkpoints are read by position, which virtual file systems do not offer. Copy the file to a disk of the machine
    that runs the extension and open it there.</p>
  </body>
</html>`;
