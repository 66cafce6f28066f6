import * as vscode from 'vscode';
import type { Checkpoints } from '../checkpoints';
import { showCheckpoint } from '../editor';
import { pick } from '../panels/common';
import type { Studio } from '../studio';
import type { CheckpointTree, Element } from '../tree';
import { localPath, modelFor, tensorFor, type Argument } from './subject';

/** The tree of checkpoints and its view. */
export interface TreeContext {
  tree: CheckpointTree;
  view: vscode.TreeView<Element>;
}

/** Commands that look at headers. */
export function inspectCommands(studio: Studio, { tree, view }: TreeContext) {
  return {
    open: async (argument: Argument) => {
      const named = argument && 'model' in argument && typeof argument.model === 'string' ? argument.model : undefined;
      const path = argument instanceof vscode.Uri ? localPath(argument) : (named ?? (await choosePath()));
      if (path === undefined) return;
      const model = await studio.checkpoints.add(path);
      await showCheckpoint(model.file);
    },
    openTensor: async (argument: Argument) => {
      // Going where one is already is of no use: without a name, one is asked for.
      const found = await tensorFor(studio, argument, 'Tensor to show', { ask: true });
      if (!found) return;
      // The panel knows the checkpoint by the file that stands for it.
      studio.selection.ask(found.model.file, found.tensor.name);
      await showCheckpoint(found.model.file);
    },
    copyName: async (argument: Argument) => {
      const name =
        moduleName(argument) ?? (await tensorFor(studio, argument, 'Tensor whose name to copy'))?.tensor.name;
      if (name !== undefined) await vscode.env.clipboard.writeText(name);
    },
    revealInTree: async (argument: Argument) => {
      const found = await tensorFor(studio, argument, 'Tensor to reveal');
      if (!found) return;
      if (tree.filter) applyFilter(tree, view, '');
      const element = await tree.find(found.model.path, found.tensor.name);
      if (element) await view.reveal(element, { select: true, focus: true, expand: true });
    },
    revealInExplorer: async (argument: Argument) => {
      const file = await fileOf(studio, argument);
      if (file === undefined) return;
      const uri = vscode.Uri.file(file);
      const inside = vscode.workspace.getWorkspaceFolder(uri) !== undefined;
      await vscode.commands.executeCommand(inside ? 'revealInExplorer' : 'revealFileInOS', uri);
    },
    filter: () => askFilter(tree, view),
    clearFilter: () => applyFilter(tree, view, ''),
    refresh: () => {
      studio.models.clear();
      studio.checkpoints.refresh();
    },
    removeCheckpoint: async (argument: Argument) => {
      // A line of the tree may be of a checkpoint that cannot be opened any more.
      const line = argument && 'kind' in argument && argument.kind === 'checkpoint' ? argument.checkpoint : undefined;
      const chosen = line ?? (await modelFor(studio, argument, 'Checkpoint to remove from the list'));
      if (chosen) await studio.checkpoints.forget(chosen.path);
    },
  };
}

function moduleName(argument: Argument): string | undefined {
  const isModule = argument && 'kind' in argument && argument.kind === 'node' && !argument.node.tensor;
  return isModule ? argument.node.path : undefined;
}

async function fileOf(studio: Studio, argument: Argument): Promise<string | undefined> {
  if (argument && 'kind' in argument && argument.kind === 'checkpoint') return argument.checkpoint.file;
  const found = await tensorFor(studio, argument, 'Tensor whose shard to reveal');
  return found?.tensor.parts[0]?.file;
}

/** Dialogues of some platforms cannot offer both at once, so the kind is chosen first. */
async function choosePath(): Promise<string | undefined> {
  const file = { label: '$(file) File…', description: '.safetensors, .gguf, an index, or config.json' };
  const folder = { label: '$(folder) Folder…', description: 'a Hugging Face checkpoint' };
  const chosen = await vscode.window.showQuickPick([folder, file], { placeHolder: 'Open a checkpoint from a' });
  if (!chosen) return undefined;
  if (chosen === file) return pick('checkpoint');
  const [uri] =
    (await vscode.window.showOpenDialog({
      title: 'Checkpoint Folder',
      openLabel: 'Open',
      canSelectFolders: true,
      canSelectFiles: false,
    })) ?? [];
  return uri?.fsPath;
}

function applyFilter(tree: CheckpointTree, view: vscode.TreeView<Element>, query: string): void {
  tree.setFilter(query);
  const { filter } = tree;
  view.message = filter ? `Tensors matching “${filter}”` : '';
  if (filter)
    void tree.hasMatches().then(found => {
      if (!found && tree.filter === filter) view.message = `No tensor matches “${filter}”.`;
    });
  void vscode.commands.executeCommand('setContext', 'lqStudio.filtered', tree.filter !== '');
}

/** The tree follows while the query is typed; Escape brings back the filter there was. */
function askFilter(tree: CheckpointTree, view: vscode.TreeView<Element>): void {
  const before = tree.filter;
  const box = vscode.window.createInputBox();
  box.title = 'Filter Checkpoints';
  box.placeholder = 'Letters of the name in order, such as “l3 q proj”';
  box.value = before;
  let accepted = false;
  let waiting: NodeJS.Timeout | undefined;
  box.onDidChangeValue(value => {
    clearTimeout(waiting);
    // Each filter repaints the tree: once for a burst of keys.
    waiting = setTimeout(() => applyFilter(tree, view, value), 120);
  });
  box.onDidAccept(() => {
    accepted = true;
    box.hide();
  });
  box.onDidHide(() => {
    clearTimeout(waiting);
    applyFilter(tree, view, accepted ? box.value : before);
    box.dispose();
  });
  box.show();
}

/** Keeps `lqStudio.hasCheckpoints` and `lqStudio.ready` true to what was found. */
export async function publishContext(checkpoints: Checkpoints): Promise<void> {
  const found = (await checkpoints.list()).length > 0;
  await vscode.commands.executeCommand('setContext', 'lqStudio.hasCheckpoints', found);
  await vscode.commands.executeCommand('setContext', 'lqStudio.ready', true);
}
