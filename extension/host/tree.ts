import * as path from 'node:path';
import * as vscode from 'vscode';
import { formatBytes, formatCount, formatNumber, formatShape } from '../core/format';
import type { CheckpointProblem, LogicalTensor, TreeNode } from '../core/checkpoint/types';
import type { Checkpoint, Checkpoints } from './checkpoints';
import { describeModel, describeNode, describeTensor, shownName } from './model/describe';
import { matchingTensors } from './model/fuzzy';
import type { Model } from './model/models';
import type { StatisticsCache } from './model/statistics';

/** An element of the tree. `parent` lets the view reveal it. */
export type Element =
  | { kind: 'checkpoint'; checkpoint: Checkpoint; parent?: undefined }
  | { kind: 'problem'; problem: CheckpointProblem; parent: Element }
  | { kind: 'node'; node: TreeNode; label: string; model: Model; parent: Element }
  | { kind: 'match'; tensor: LogicalTensor; model: Model; positions: readonly number[]; parent: Element }
  | { kind: 'more'; count: number; parent: Element };

/** The tensor an element stands for. */
export function tensorOf(element: Element): { tensor: LogicalTensor; model: Model } | undefined {
  if (element.kind === 'match') return { tensor: element.tensor, model: element.model };
  if (element.kind === 'node' && element.node.tensor) return { tensor: element.node.tensor, model: element.model };
  return undefined;
}

export function modelOf(element: Element): Model | undefined {
  if (element.kind === 'checkpoint') return element.checkpoint.model;
  return 'model' in element ? element.model : undefined;
}

/** Matches shown of one checkpoint; more would not be read. */
const maxMatches = 200;

export class CheckpointTree implements vscode.TreeDataProvider<Element>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly subscription: vscode.Disposable;
  private query = '';
  /** Ids of what the user opened: a filter takes the lines away, and they come back as they were. */
  private readonly expanded = new Set<string>();
  /** Elements by id, so that the view meets the same object for the same thing. */
  private elements = new Map<string, Element>();

  constructor(
    private readonly checkpoints: Checkpoints,
    private readonly statistics: StatisticsCache,
  ) {
    this.subscription = checkpoints.onDidChange(() => this.reset());
  }

  get filter(): string {
    return this.query;
  }

  /** Shows the tensors that match instead of the modules; the empty query shows the modules again. */
  setFilter(query: string): void {
    this.query = query.trim();
    this.reset();
  }

  /** Whether anything is left under the filter. */
  async hasMatches(): Promise<boolean> {
    return (await this.getChildren()).length > 0;
  }

  /** Told by the view of every line that was opened or closed. */
  keepExpanded(element: Element, expanded: boolean): void {
    if (this.query) return; // a filter opens its lines by itself
    if (expanded) this.expanded.add(idOf(element));
    else this.expanded.delete(idOf(element));
  }

  dispose(): void {
    this.subscription.dispose();
    this.changed.dispose();
  }

  async getChildren(element?: Element): Promise<Element[]> {
    if (!element) {
      const all = await this.checkpoints.list();
      const roots = all.map(checkpoint => this.keep({ kind: 'checkpoint', checkpoint }));
      if (!this.query) return roots;
      return roots.filter(root => this.matches(root).length > 0);
    }
    if (element.kind === 'node') return this.nodes(element.node.children, element.model, element);
    if (element.kind !== 'checkpoint') return [];
    if (this.query) return this.matches(element);
    const { model } = element.checkpoint;
    if (!model) return [];
    const problems = model.index.problems.map(problem =>
      this.keep({ kind: 'problem', problem, parent: element } as const),
    );
    return [...problems, ...this.nodes(model.tree, model, element)];
  }

  getParent(element: Element): Element | undefined {
    return element.parent;
  }

  getTreeItem(element: Element): vscode.TreeItem {
    const item = itemOf(element, this.query !== '');
    if (element.kind === 'checkpoint' && this.checkpoints.isOutside(element.checkpoint.path)) {
      item.contextValue = `${item.contextValue}.outside`;
    }
    const { Collapsed, Expanded } = vscode.TreeItemCollapsibleState;
    if (item.collapsibleState === Collapsed && this.expanded.has(idOf(element))) item.collapsibleState = Expanded;
    // VS Code remembers by id what was collapsed; the matches of a filter are to be seen at once.
    item.id = this.query && element.kind === 'checkpoint' ? `${idOf(element)}?` : idOf(element);
    return item;
  }

  /** Tooltips are made when they are asked for. */
  async resolveTreeItem(item: vscode.TreeItem, element: Element): Promise<vscode.TreeItem> {
    item.tooltip = markdown(await this.describe(element));
    return item;
  }

  /** The element of a tensor, with its ancestors, for `TreeView.reveal`. */
  async find(modelPath: string, tensor: string): Promise<Element | undefined> {
    const checkpoint = (await this.checkpoints.list()).find(each => each.path === modelPath);
    if (!checkpoint?.model) return undefined;
    const { model } = checkpoint;
    const root = this.keep({ kind: 'checkpoint', checkpoint });
    const descend = (nodes: readonly TreeNode[], parent: Element): Element | undefined => {
      for (const given of nodes) {
        const { node, label } = compact(given);
        const element = this.keep({ kind: 'node', node, label, model, parent });
        const found = node.tensor?.name === tensor ? element : descend(node.children, element);
        if (found) return found;
      }
      return undefined;
    };
    return descend(model.tree, root);
  }

  private reset(): void {
    this.elements = new Map();
    this.changed.fire();
  }

  private keep<E extends Element>(element: E): Element {
    const id = idOf(element);
    const known = this.elements.get(id);
    if (known) return known;
    this.elements.set(id, element);
    return element;
  }

  private nodes(nodes: readonly TreeNode[], model: Model, parent: Element): Element[] {
    return nodes.map(node => this.keep({ kind: 'node', ...compact(node), model, parent }));
  }

  private matches(root: Element): Element[] {
    const model = modelOf(root);
    if (!model) return [];
    const found = matchingTensors(model.tensors, this.query);
    const shown = found
      .slice(0, maxMatches)
      .map(({ tensor, positions }) => this.keep({ kind: 'match', tensor, model, positions, parent: root }));
    return found.length > maxMatches
      ? [...shown, this.keep({ kind: 'more', count: found.length - maxMatches, parent: root })]
      : shown;
  }

  private async describe(element: Element): Promise<string> {
    switch (element.kind) {
      case 'checkpoint':
        return element.checkpoint.model
          ? describeModel(element.checkpoint.model)
          : shownName(element.checkpoint.error?.message ?? '', 1000);
      case 'node':
      case 'match': {
        const found = tensorOf(element);
        if (!found) return describeNode((element as Extract<Element, { kind: 'node' }>).node);
        const known = await this.statistics.of(found.model);
        return describeTensor(found.tensor, found.model, known.get(found.tensor.name));
      }
      case 'problem':
        return shownName(element.problem.message, 1000);
      case 'more':
        return 'Type more of the name to see them.';
    }
  }
}

/** A module that holds one thing only is shown as that thing: `q_proj.weight` rather than a line to open. */
function compact(node: TreeNode): { node: TreeNode; label: string } {
  let [shown, label] = [node, node.label];
  while (!shown.tensor && shown.repeats === undefined && shown.children.length === 1) {
    shown = shown.children[0]!;
    label = `${label}.${shown.label}`;
  }
  return { node: shown, label };
}

/** Text of the product's own with code spans of the checkpoint's: no HTML, no commands. */
function markdown(text: string): vscode.MarkdownString {
  const result = new vscode.MarkdownString(text, true);
  result.isTrusted = false;
  result.supportHtml = false;
  return result;
}

function idOf(element: Element): string {
  switch (element.kind) {
    case 'checkpoint':
      return element.checkpoint.path;
    case 'problem':
      return `${idOf(element.parent)}#!${element.problem.code} ${element.problem.message}`;
    case 'node':
      return `${element.model.path}#${element.node.path}#${element.node.repeats ?? ''}`;
    case 'match':
      return `${element.model.path}#?${element.tensor.name}`;
    case 'more':
      return `${idOf(element.parent)}#more`;
  }
}

function itemOf(element: Element, filtered: boolean): vscode.TreeItem {
  switch (element.kind) {
    case 'checkpoint':
      return checkpointItem(element.checkpoint, filtered);
    case 'problem':
      return problemItem(element.problem);
    case 'node':
      return nodeItem(element.node, element.label, element.model);
    case 'match': {
      const item = tensorItem(element.tensor, element.model);
      // Positions are of the whole name; a cut one is shown without marks.
      const label = shownName(element.tensor.name);
      const highlights = label === element.tensor.name ? ranges(element.positions) : [];
      item.label = { label, highlights };
      return item;
    }
    case 'more':
      return new vscode.TreeItem(`${element.count} more`);
  }
}

function checkpointItem({ path: file, model, error }: Checkpoint, filtered: boolean): vscode.TreeItem {
  const { Collapsed, Expanded, None } = vscode.TreeItemCollapsibleState;
  if (!model) {
    const item = new vscode.TreeItem(shownName(path.basename(file)), None);
    item.description = shownName(error?.message ?? '');
    item.iconPath = new vscode.ThemeIcon('error', new vscode.ThemeColor('problemsErrorIcon.foreground'));
    item.contextValue = 'broken';
    return item;
  }
  const { header, index } = model;
  const item = new vscode.TreeItem(shownName(header.label), filtered ? Expanded : Collapsed);
  item.description = `${formatCount(header.parameters)} · ${header.dtype} · ${formatBytes(header.bytes)}`;
  const broken = index.problems.some(problem => problem.severity === 'error');
  item.iconPath = broken
    ? new vscode.ThemeIcon('warning', new vscode.ThemeColor('problemsWarningIcon.foreground'))
    : new vscode.ThemeIcon(header.compressed ? 'archive' : index.adapterConfig ? 'extensions' : 'package');
  item.contextValue = `checkpoint${header.compressed ? '.compressed' : ''}`;
  item.accessibilityInformation = { label: `Checkpoint ${header.label}, ${item.description}` };
  return item;
}

const PROBLEM_COLORS: Readonly<Record<CheckpointProblem['severity'], string>> = {
  error: 'problemsErrorIcon.foreground',
  warning: 'problemsWarningIcon.foreground',
  information: 'problemsInfoIcon.foreground',
};

function problemItem(problem: CheckpointProblem): vscode.TreeItem {
  const item = new vscode.TreeItem(shownName(problem.message));
  item.iconPath = new vscode.ThemeIcon(
    problem.severity === 'information' ? 'info' : problem.severity,
    new vscode.ThemeColor(PROBLEM_COLORS[problem.severity]),
  );
  item.contextValue = 'problem';
  return item;
}

function nodeItem(node: TreeNode, label: string, model: Model): vscode.TreeItem {
  if (node.tensor) {
    const item = tensorItem(node.tensor, model);
    item.label = shownName(label);
    return item;
  }
  const item = new vscode.TreeItem(shownName(label), vscode.TreeItemCollapsibleState.Collapsed);
  const perWeight = node.parameters > 0 ? ` · ${formatNumber((8 * node.bytes) / node.parameters, 3)} bits` : '';
  const repeats = node.repeats === undefined ? '' : `${node.repeats} × `;
  item.description = `${repeats}${formatCount(node.parameters / (node.repeats ?? 1))}${perWeight}`;
  item.iconPath = new vscode.ThemeIcon(node.repeats === undefined ? 'symbol-namespace' : 'layers');
  item.contextValue = node.repeats === undefined ? 'module' : 'block';
  return item;
}

const roleIcons: Partial<Record<LogicalTensor['role'], string>> = {
  embedding: 'symbol-key',
  head: 'symbol-event',
  norm: 'symbol-ruler',
  bias: 'symbol-variable',
};

function tensorItem(tensor: LogicalTensor, model: Model): vscode.TreeItem {
  const item = new vscode.TreeItem(shownName(tensor.name));
  const bits = tensor.format === 'dense' ? '' : ` · ${formatNumber(tensor.bitsPerWeight, 3)} bits`;
  item.description = `${formatShape(tensor.shape)} · ${tensor.dtype} · ${formatBytes(tensor.bytes)}${bits}`;
  const icon = tensor.format === 'lora' ? 'git-merge' : tensor.format === 'dense' ? roleIcons[tensor.role] : 'archive';
  item.iconPath = new vscode.ThemeIcon(icon ?? 'symbol-array');
  item.contextValue = 'tensor';
  item.command = {
    command: 'lqStudio.openTensor',
    title: 'Go to Tensor',
    arguments: [{ model: model.path, tensor: tensor.name }],
  };
  item.accessibilityInformation = { label: `Tensor ${shownName(tensor.name)}, ${item.description}` };
  return item;
}

/** Neighbouring positions joined to [start, end). */
function ranges(positions: readonly number[]): [number, number][] {
  const result: [number, number][] = [];
  for (const position of positions) {
    const last = result.at(-1);
    if (last && last[1] === position) last[1] = position + 1;
    else result.push([position, position + 1]);
  }
  return result;
}
