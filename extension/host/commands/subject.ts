import { basename } from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import { formatBytes, formatCount } from '../../core/format';
import type { LogicalTensor } from '../../core/checkpoint/types';
import { shownName } from '../model/describe';
import type { Model } from '../model/models';
import { pick } from '../panels/common';
import { pickTensor } from './tensors';
import type { Studio } from '../studio';
import { modelOf, tensorOf, type Element } from '../tree';

/** What a command may be given: a line of the tree, a file of the Explorer, or names from code. */
export type Argument = Element | vscode.Uri | Named | undefined;

/** Names from code, or from the menu of a panel: which says the tensor, and is of the active checkpoint. */
interface Named {
  model?: string;
  tensor?: string;
}

const isElement = (argument: Argument): argument is Element => argument !== undefined && 'kind' in argument;

/**
 * The checkpoint a command is about: what it was given, else that of the active editor or panel, else the only one there
 * is, else the one the user picks. A shard stands for the checkpoint it is of: nothing is done to a part of a model unasked.
 * Undefined when the user dismissed the choice.
 */
export async function modelFor(
  studio: Studio,
  argument: Argument,
  placeholder: string,
  offered: Offered = {},
): Promise<Model | undefined> {
  const model = await givenModel(studio, argument, placeholder, offered);
  return model?.header.part ? studio.models.open(model.header.part.path) : model;
}

async function givenModel(
  studio: Studio,
  argument: Argument,
  placeholder: string,
  offered: Offered,
): Promise<Model | undefined> {
  if (argument instanceof vscode.Uri) return openUri(studio, argument);
  if (isElement(argument)) {
    const model = modelOf(argument);
    if (model) return model;
    if (argument.kind === 'checkpoint') return studio.models.open(argument.checkpoint.path);
  } else if (argument?.model !== undefined) return studio.models.open(argument.model);
  const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  // An editor of a file that cannot be read is of ours too: its reason is told, and no other checkpoint taken for it.
  if (input instanceof vscode.TabInputCustom && input.viewType.startsWith('lqStudio.'))
    return openUri(studio, input.uri);
  const { model } = studio.active() ?? {};
  return model === undefined ? pickModel(studio, placeholder, offered) : studio.models.open(model);
}

const openUri = async (studio: Studio, uri: vscode.Uri): Promise<Model> => studio.models.open(localPath(uri));

/** The path of a file that can be read by position. @throws LqError 'usage' for one of a virtual file system. */
export function localPath(uri: vscode.Uri): string {
  if (uri.scheme === 'file') return uri.fsPath;
  throw new LqError('usage', 'Only checkpoints on a disk of the machine that runs the extension can be opened.');
}

/** Which checkpoints of the workspace a choice is among. */
export interface Offered {
  /** Left out: the other one of two. */
  except?: Model;
  /** Also those that cannot be opened; choosing one throws the reason. */
  broken?: boolean;
}

/**
 * Lets the user choose among the checkpoints of the workspace, or any other.
 * @throws LqError of `openCheckpoint`.
 */
export async function pickModel(
  studio: Studio,
  placeholder: string,
  { except, broken = false }: Offered = {},
): Promise<Model | undefined> {
  const checkpoints = (await studio.checkpoints.list()).filter(each =>
    each.model ? each.path !== except?.path : broken,
  );
  if (checkpoints.length === 1 && !except) return studio.models.open(checkpoints[0]!.path);
  const items = checkpoints.map(({ path, model, error }) => ({
    label: shownName(model?.header.label ?? basename(path)),
    description: model
      ? `${formatCount(model.header.parameters)} · ${model.header.dtype} · ${formatBytes(model.header.bytes)}`
      : `$(error) ${shownName(error?.message ?? '')}`,
    detail: shownName(vscode.workspace.asRelativePath(path), 200),
    path,
  }));
  const other = { label: '$(folder-opened) Open another…', path: undefined };
  const chosen = await vscode.window.showQuickPick([...items, other], {
    placeHolder: placeholder,
    matchOnDescription: true,
    matchOnDetail: true,
  });
  if (!chosen) return undefined;
  if (chosen.path !== undefined) return studio.models.open(chosen.path);
  const path = await pick('checkpoint');
  return path === undefined ? undefined : studio.checkpoints.add(path);
}

/** The tensor a command is about: what it was given, else the one selected in the active panel, else the one the user picks. */
export async function tensorFor(
  studio: Studio,
  argument: Argument,
  placeholder: string,
  { ask = false }: { ask?: boolean } = {},
): Promise<{ model: Model; tensor: LogicalTensor } | undefined> {
  if (isElement(argument)) {
    const found = tensorOf(argument);
    if (found) return found;
  }
  const model = await modelFor(studio, argument, 'Checkpoint');
  if (!model) return undefined;
  const named = argument && 'tensor' in argument && typeof argument.tensor === 'string' ? argument.tensor : undefined;
  const name = named ?? (argument === undefined && !ask ? studio.active()?.tensor : undefined);
  if (name !== undefined) {
    const tensor = model.byName.get(name);
    if (tensor) return { model, tensor };
    throw new LqError('tensor-not-found', `${model.header.label} has no tensor of this name`, {
      tensor: name,
      file: model.path,
    });
  }
  const tensor = await pickTensor(model, placeholder);
  return tensor && { model, tensor };
}
