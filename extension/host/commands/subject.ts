import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import { formatBytes, formatCount } from '../../core/format';
import type { LogicalTensor } from '../../core/checkpoint/types';
import { shownName } from '../model/describe';
import type { Model } from '../model/models';
import { pick } from '../panels/common';
import type { Studio } from '../studio';
import { modelOf, tensorOf, type Element } from '../tree';

/** What a command may be given: a line of the tree, a file of the Explorer, or names from code. */
export type Argument = Element | vscode.Uri | { model: string; tensor?: string } | undefined;

const isElement = (argument: Argument): argument is Element => argument !== undefined && 'kind' in argument;

/**
 * The checkpoint a command is about: what it was given, else that of the active editor, else the only one there is, else
 * the one the user picks. Undefined when the user dismissed the choice.
 */
export async function modelFor(studio: Studio, argument: Argument, placeholder: string): Promise<Model | undefined> {
  if (argument instanceof vscode.Uri) return openUri(studio, argument);
  if (isElement(argument)) {
    const model = modelOf(argument);
    if (model) return model;
    if (argument.kind === 'checkpoint') return studio.models.open(argument.checkpoint.path);
  } else if (argument) return studio.models.open(argument.model);
  const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  if (input instanceof vscode.TabInputCustom && input.viewType.startsWith('lqStudio.'))
    return openUri(studio, input.uri);
  return pickModel(studio, placeholder);
}

async function openUri(studio: Studio, uri: vscode.Uri): Promise<Model> {
  if (uri.scheme !== 'file') {
    throw new LqError('usage', 'Only checkpoints on a disk of the machine that runs the extension can be opened.');
  }
  return studio.models.open(uri.fsPath);
}

/** Lets the user choose among the checkpoints of the workspace, or any other. */
export async function pickModel(studio: Studio, placeholder: string, except?: Model): Promise<Model | undefined> {
  const models = (await studio.checkpoints.list()).flatMap(({ model }) =>
    model && model.path !== except?.path ? [model] : [],
  );
  if (models.length === 1 && !except) return models[0];
  const items = models.map(model => ({
    label: shownName(model.header.label),
    description: `${formatCount(model.header.parameters)} · ${model.header.dtype} · ${formatBytes(model.header.bytes)}`,
    detail: shownName(vscode.workspace.asRelativePath(model.path), 200),
    model,
  }));
  const other = { label: '$(folder-opened) Open another…', model: undefined };
  const chosen = await vscode.window.showQuickPick([...items, other], {
    placeHolder: placeholder,
    matchOnDescription: true,
    matchOnDetail: true,
  });
  if (!chosen) return undefined;
  if (chosen.model) return chosen.model;
  const path = await pick('checkpoint');
  return path === undefined ? undefined : studio.checkpoints.add(path);
}

/** The tensor a command is about: what it was given, else the one the user picks. */
export async function tensorFor(
  studio: Studio,
  argument: Argument,
  placeholder: string,
): Promise<{ model: Model; tensor: LogicalTensor } | undefined> {
  if (isElement(argument)) {
    const found = tensorOf(argument);
    if (found) return found;
  }
  const model = await modelFor(studio, argument, 'Checkpoint');
  if (!model) return undefined;
  if (argument && 'tensor' in argument && typeof argument.tensor === 'string') {
    const tensor = model.byName.get(argument.tensor);
    if (tensor) return { model, tensor };
    throw new LqError('tensor-not-found', `${model.header.label} has no tensor of this name`, {
      tensor: argument.tensor,
      file: model.path,
    });
  }
  const items = model.tensors.map(tensor => ({
    label: shownName(tensor.name),
    description: `${tensor.shape.join(' × ')} · ${tensor.dtype}`,
    tensor,
  }));
  const chosen = await vscode.window.showQuickPick(items, { placeHolder: placeholder });
  return chosen && { model, tensor: chosen.tensor };
}
