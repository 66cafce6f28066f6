import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import * as vscode from 'vscode';
import type { PanelName, PanelTarget } from '../protocol/panels';

/** What a panel's page may load: its bundle and the pictures of the extension. */
export const pageRoots = (extension: vscode.Uri): vscode.Uri[] => [
  vscode.Uri.joinPath(extension, 'dist', 'webview'),
  vscode.Uri.joinPath(extension, 'media'),
];

/**
 * The page of a panel: a script with a nonce, a stylesheet, and what it is of. Nothing else may run, and nothing is
 * fetched from anywhere.
 */
export function page(
  webview: vscode.Webview,
  extension: vscode.Uri,
  name: PanelName,
  target: PanelTarget,
  title: string,
): string {
  const nonce = randomBytes(18).toString('base64');
  const bundle = vscode.Uri.joinPath(extension, 'dist', 'webview');
  const file = (suffix: string) => vscode.Uri.joinPath(bundle, `${name}.${suffix}`);
  const policy = [
    `default-src 'none'`,
    `script-src 'nonce-${nonce}'`,
    `style-src ${webview.cspSource} 'nonce-${nonce}'`,
    `img-src ${webview.cspSource} data: blob:`,
    `font-src ${webview.cspSource}`,
  ].join('; ');
  const style = existsSync(file('css').fsPath)
    ? `<link rel="stylesheet" href="${escaped(webview.asWebviewUri(file('css')).toString())}">`
    : '';
  return `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="${escaped(policy)}">
    <!-- The controls' library tests for :focus-visible with a style element of its own, which needs the nonce. -->
    <meta property="csp-nonce" content="${nonce}">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${escaped(title)}</title>
    ${style}
  </head>
  <body data-panel="${name}" data-target="${escaped(JSON.stringify(target))}">
    <main id="root"></main>
    <script nonce="${nonce}" src="${escaped(webview.asWebviewUri(file('js')).toString())}"></script>
  </body>
</html>`;
}

function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, character => entities[character]!);
}
