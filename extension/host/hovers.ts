import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Checkpoints } from './checkpoints';
import { explainKey, keyAt } from './model/config-keys';
import { codeSpan, describeModel, describeNode, describeShard, describeTensor } from './model/describe';
import { lookUp, stringAt, type Named } from './model/lookup';
import type { Model } from './model/models';
import type { StatisticsCache } from './model/statistics';
import { hoversEnabled } from './settings';

/** Checkpoints of one hover that are described; the rest are counted. */
const maxShown = 3;

const documents: vscode.DocumentSelector = [
  { language: 'json' },
  { language: 'jsonc' },
  { language: 'yaml' },
  { language: 'python' },
];

/** Hovers over tensor names, shard names and checkpoint paths in strings, and over the keys of a model's configuration. */
export class Hovers implements vscode.HoverProvider, vscode.Disposable {
  private readonly registration = vscode.languages.registerHoverProvider(documents, this);

  constructor(
    private readonly checkpoints: Checkpoints,
    private readonly statistics: StatisticsCache,
  ) {}

  async provideHover(document: vscode.TextDocument, position: vscode.Position): Promise<vscode.Hover | undefined> {
    if (!hoversEnabled(document.uri)) return undefined;
    // Beyond this a line is data, and matching it would take longer than a hover may.
    const line = document.lineAt(position.line).text;
    if (line.length > 20_000) return undefined;
    return this.overKey(document, position, line) ?? (await this.overName(document, position, line));
  }

  dispose(): void {
    this.registration.dispose();
  }

  private overKey(document: vscode.TextDocument, position: vscode.Position, line: string): vscode.Hover | undefined {
    const file = path.posix.basename(document.uri.path);
    if (file !== 'config.json' && file !== 'adapter_config.json') return undefined;
    const found = keyAt(line, position.character);
    if (!found) return undefined;
    const config = parsed(document);
    const text = explainKey(file, found.key, config[found.key], config);
    if (text === undefined) return undefined;
    const range = new vscode.Range(position.line, found.start, position.line, found.end);
    return new vscode.Hover(untrusted(`**${codeSpan(found.key)}**\n\n${text}`), range);
  }

  private async overName(
    document: vscode.TextDocument,
    position: vscode.Position,
    line: string,
  ): Promise<vscode.Hover | undefined> {
    const word = stringAt(line, position.character, document.languageId === 'yaml');
    if (!word) return undefined;
    const named = this.ranked(document, lookUp(word.text, await this.modelsFor(document), folders(document)));
    if (named.length === 0) return undefined;
    const sections = await Promise.all(named.slice(0, maxShown).map(each => this.describe(each, named.length > 1)));
    if (named.length > maxShown) sections.push(`… and in ${named.length - maxShown} more checkpoints.`);
    const range = new vscode.Range(position.line, word.start, position.line, word.end);
    return new vscode.Hover(sections.map(linked), range);
  }

  /** A script or a recipe is about the checkpoints that it names: those come first. */
  private ranked(document: vscode.TextDocument, named: readonly Named[]): Named[] {
    if (named.length < 2) return [...named];
    const text = document.getText();
    const isNamed = ({ model }: Named): boolean =>
      [model.path, model.header.label, path.basename(model.path)].some(each => isWord(text, each));
    return [...named.filter(isNamed), ...named.filter(each => !isNamed(each))];
  }

  /** An index speaks of its own checkpoint; other documents of any. */
  private async modelsFor(document: vscode.TextDocument): Promise<Model[]> {
    const models = (await this.checkpoints.list()).flatMap(({ model }) => (model ? [model] : []));
    const own = models.filter(model => model.file === document.uri.fsPath);
    return own.length > 0 ? own : models;
  }

  private async describe(named: Named, several: boolean): Promise<string> {
    const { model } = named;
    const tensor = named.kind === 'tensor' ? named.tensor.name : undefined;
    const open = commandLink(tensor === undefined ? 'open' : 'openTensor', {
      model: model.path,
      ...(tensor !== undefined && { tensor }),
    });
    const of = `\n\n${several ? `in ${codeSpan(model.header.label)} · ` : ''}[Open](${open})`;
    switch (named.kind) {
      case 'tensor': {
        const known = await this.statistics.of(named.model);
        return describeTensor(named.tensor, named.model, known.get(named.tensor.name)) + of;
      }
      case 'module':
        return describeNode(named.node) + of;
      case 'shard': {
        const inside = named.model.tensors.filter(tensor => tensor.parts[0]?.file === named.shard.file);
        return describeShard(named.shard, inside) + of;
      }
      case 'checkpoint':
        return describeModel(named.model) + of;
    }
  }
}

function folders(document: vscode.TextDocument): string[] {
  const roots = vscode.workspace.workspaceFolders?.map(folder => folder.uri) ?? [];
  const own = document.uri.scheme === 'file' ? [path.dirname(document.uri.fsPath)] : [];
  return [...own, ...roots.filter(uri => uri.scheme === 'file').map(uri => uri.fsPath)];
}

/** While it is being typed a document is often not JSON; keys are then explained without their values. */
function parsed(document: vscode.TextDocument): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(document.getText());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Whether a name stands in a text by itself, not as a part of another. */
function isWord(text: string, name: string): boolean {
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const around = `${text.charAt(at - 1)}${text.charAt(at + name.length)}`;
    if (!/[\w-]/.test(around)) return true;
  }
  return false;
}

const linkedCommands = ['lqStudio.open', 'lqStudio.openTensor'];

const commandLink = (command: string, argument: unknown): string =>
  `command:lqStudio.${command}?${encodeURIComponent(JSON.stringify([argument]))
    .replaceAll('(', '%28')
    .replaceAll(')', '%29')}`;

/** Our own text with names in code spans, whose links run two commands that only look. */
function linked(text: string): vscode.MarkdownString {
  const result = untrusted(text);
  result.isTrusted = { enabledCommands: linkedCommands };
  return result;
}

function untrusted(text: string): vscode.MarkdownString {
  const result = new vscode.MarkdownString(text, true);
  result.isTrusted = false;
  result.supportHtml = false;
  return result;
}
