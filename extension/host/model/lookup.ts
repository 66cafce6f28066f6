import * as path from 'node:path';
import type { LogicalTensor, ShardInfo, TreeNode } from '../../core/checkpoint/types';
import type { Model } from './models';

/** What a string in a document turned out to name. */
export type Named =
  | { kind: 'tensor'; model: Model; tensor: LogicalTensor }
  | { kind: 'module'; model: Model; node: TreeNode }
  | { kind: 'shard'; model: Model; shard: ShardInfo }
  | { kind: 'checkpoint'; model: Model };

/** The quoted or bare word around a place in a line: [start, end) of its text. */
export interface Word {
  text: string;
  start: number;
  end: number;
}

/**
 * The string literal at `character` of a line, its quotes left out; in YAML also a bare scalar. Escapes other than of the
 * quote do not occur in names and are not decoded.
 */
export function stringAt(line: string, character: number, bare: boolean): Word | undefined {
  for (const literal of line.matchAll(/"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'/g)) {
    const start = literal.index + 1;
    const end = literal.index + literal[0].length - 1;
    if (character >= literal.index && character <= end) return { text: line.slice(start, end), start, end };
  }
  if (!bare) return undefined;
  for (const word of line.matchAll(/[^\s"'#:,[\]{}]+/g)) {
    const end = word.index + word[0].length;
    if (character >= word.index && character <= end) return { text: word[0], start: word.index, end };
  }
  return undefined;
}

/**
 * Finds what a word names among the given checkpoints: a logical or stored tensor, a module, or, as an absolute path or
 * one relative to `folders`, a checkpoint or shard. Undefined for anything else, so that no other string grows a hover.
 */
export function lookUp(text: string, models: readonly Model[], folders: readonly string[]): Named[] {
  if (text.length < 3) return [];
  const paths = new Set(folders.map(folder => path.resolve(folder, text)));
  return models.flatMap(model => named(text, paths, model));
}

function named(text: string, paths: ReadonlySet<string>, model: Model): Named[] {
  const { path: own, file, index } = model;
  if (/[\w-]/.test(text) && [own, file].some(each => paths.has(each))) return [{ kind: 'checkpoint', model }];
  const shard = index.shards.find(each => paths.has(each.file));
  if (shard) return [{ kind: 'shard', model, shard }];
  const tensor = model.byName.get(text) ?? model.byName.get(`${text}.weight`) ?? partOwner(text, model);
  if (tensor) return [{ kind: 'tensor', model, tensor }];
  // A single word such as `model` would match in too many places.
  const node = text.includes('.') ? findModule(text, model.tree) : undefined;
  return node ? [{ kind: 'module', model, node }] : [];
}

function partOwner(name: string, model: Model): LogicalTensor | undefined {
  if (!model.index.byName.has(name)) return undefined;
  return model.tensors.find(tensor => tensor.parts.some(part => part.name === name));
}

function findModule(name: string, nodes: readonly TreeNode[]): TreeNode | undefined {
  for (const node of nodes) {
    if (node.path === name && !node.tensor && node.repeats === undefined) return node;
    if (node.repeats !== undefined || name.startsWith(`${node.path}.`)) {
      const found = findModule(name, node.children);
      if (found) return found;
    }
  }
  return undefined;
}
