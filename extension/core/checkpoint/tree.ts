/** The layer tree: modules by their dotted names, repeated blocks folded into one node. */
import { compareNatural } from './order';
import type { LogicalTensor, TreeNode } from './types';

interface Branch {
  readonly path: string;
  readonly label: string;
  readonly children: Map<string, Branch>;
  tensor?: LogicalTensor;
}

/** Deeper names keep the rest as one label: no real model nests so far, and a hostile name must not exhaust the stack. */
const MAX_DEPTH = 64;

/** Top-level nodes in natural order. `tensors` have unique names, as `logicalTensors` gives them. */
export function tensorTree(tensors: readonly LogicalTensor[]): TreeNode[] {
  const structures: Structures = new Map();
  const root: Branch = { path: '', label: '', children: new Map() };
  for (const tensor of tensors) {
    let branch = root;
    let path = '';
    for (const label of labelsOf(tensor.name)) {
      path = branch === root ? label : `${path}.${label}`;
      let child = branch.children.get(label);
      if (!child) branch.children.set(label, (child = { path, label, children: new Map() }));
      branch = child;
    }
    branch.tensor = tensor;
  }
  return childrenOf(root, structures).map(({ node }) => node);
}

function labelsOf(name: string): string[] {
  const labels = name.split('.');
  return labels.length <= MAX_DEPTH ? labels : [...labels.slice(0, MAX_DEPTH), labels.slice(MAX_DEPTH).join('.')];
}

/** Numbers for the structures met so far, so that comparing two modules of any size compares two numbers. */
type Structures = Map<string, number>;

/** A finished node with what its siblings are compared by. */
interface Built {
  readonly node: TreeNode;
  /** Equal for nodes of equal structure: labels below, shapes and formats, not the node's own label. */
  readonly structure: number;
}

function childrenOf(branch: Branch, structures: Structures): Built[] {
  const sorted = [...branch.children.values()].sort((a, b) => compareNatural(a.label, b.label));
  return sorted.map(child => build(child, structures));
}

function build(branch: Branch, structures: Structures): Built {
  const children = childrenOf(branch, structures);
  const { path, label, tensor } = branch;
  let key = tensor ? tensorSignature(tensor) : '';
  for (const child of children) key += `\n${child.structure} ${child.node.label}`;
  const structure = structures.get(key) ?? structures.size;
  structures.set(key, structure);
  const node = withTotals({ path, label, ...(tensor && { tensor }) }, fold(branch, children));
  const only = node.children[0];
  // A module that holds nothing but one run of blocks is that run.
  if (!tensor && only?.repeats !== undefined && only.repeats === children.length)
    return { node: { ...only, path }, structure };
  return { node, structure };
}

/** Bits of packed weights differ from block to block by design and do not make blocks unequal; a dense dtype does. */
function tensorSignature({ shape, format, dtype }: LogicalTensor): string {
  return `${shape.join('x')} ${format} ${format === 'dense' ? dtype : ''}`;
}

/** Puts runs of consecutively numbered, structurally equal children under one node each. */
function fold(branch: Branch, children: readonly Built[]): TreeNode[] {
  const nodes: TreeNode[] = [];
  for (let start = 0; start < children.length;) {
    let end = start + 1;
    while (end < children.length && continuesRun(children[end - 1]!, children[end]!)) end++;
    const run = children.slice(start, end).map(({ node }) => node);
    start = end;
    const first = run[0]!;
    const range = `${first.label}-${run.at(-1)!.label}`;
    const folds = run.length > 1 && first.children.length > 0 && !branch.children.has(range);
    if (!folds) nodes.push(...run);
    else {
      const own = { path: `${branch.path}.${range}`, label: `${branch.label}.${range}`, repeats: run.length };
      nodes.push(withTotals(own, run));
    }
  }
  return nodes;
}

function continuesRun(previous: Built, next: Built): boolean {
  const [a, b] = [previous.node.label, next.node.label];
  return /^\d{1,9}$/.test(a) && b === String(Number(a) + 1) && previous.structure === next.structure;
}

function withTotals(node: Omit<TreeNode, 'children' | 'parameters' | 'bytes'>, children: TreeNode[]): TreeNode {
  let parameters = node.tensor?.parameters ?? 0;
  let bytes = node.tensor?.bytes ?? 0;
  for (const child of children) {
    parameters += child.parameters;
    bytes += child.bytes;
  }
  return { ...node, children, parameters, bytes };
}
