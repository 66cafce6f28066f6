import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import { shownName } from './model/describe';

/** Tells of a failure where the user looks, with the button that helps; a cancellation is none. */
export async function showError(thrown: unknown, output: vscode.LogOutputChannel): Promise<void> {
  const error = LqError.from(thrown);
  if (error.code === 'cancelled') return;
  output.error(
    `${error.code}: ${error.message}${thrown instanceof Error && error.code === 'internal' ? `\n${thrown.stack}` : ''}`,
  );
  const actions = actionsFor(error);
  const chosen = await vscode.window.showErrorMessage(messageOf(error), ...actions.map(action => action.title));
  const action = actions.find(({ title }) => title === chosen);
  if (action) await vscode.commands.executeCommand(action.command, ...(action.arguments ?? []));
}

/** One sentence that names file and tensor when the message does not. */
export function messageOf({ message, file, tensor }: LqError): string {
  const where = [tensor, file].filter(each => each !== undefined && !message.includes(each));
  return shownName(
    where.length > 0 ? `${message} (${where.map(each => shownName(each!)).join(' in ')})` : message,
    600,
  );
}

function actionsFor(error: LqError): { title: string; command: string; arguments?: unknown[] }[] {
  const output = { title: 'Show Output', command: 'lqStudio.showOutput' };
  switch (error.code) {
    case 'engine-died':
    case 'engine-version':
      return [{ title: 'Restart Engine', command: 'lqStudio.restartEngine' }, output];
    case 'native-missing':
    case 'device-unavailable':
      return [{ title: 'Check Environment', command: 'lqStudio.doctor' }, output];
    case 'internal':
      return [output];
    default:
      if (vscode.workspace.isTrusted) return [];
      return [{ title: 'Manage Trust', command: 'workbench.trust.manage' }];
  }
}
