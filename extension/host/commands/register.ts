import * as vscode from 'vscode';
import type { HealthProblems } from '../health';
import { showError } from '../notify';
import type { Studio } from '../studio';
import { inspectCommands, type TreeContext } from './inspect';
import { jobCommands } from './jobs';
import { panelCommands } from './panels';
import { serviceCommands } from './service';
import { workCommands } from './work';

/** Registers every command of the manifest; what one throws is shown. */
export function registerCommands(studio: Studio, tree: TreeContext, problems: HealthProblems): vscode.Disposable {
  const commands = {
    ...inspectCommands(studio, tree),
    ...workCommands(studio, problems),
    ...panelCommands(studio),
    ...jobCommands(studio),
    ...serviceCommands(studio),
  };
  return vscode.Disposable.from(
    ...Object.entries(commands).map(([name, run]) =>
      vscode.commands.registerCommand(`lqStudio.${name}`, async (...given: unknown[]) => {
        try {
          // VS Code hands over what the place of the call has; each command checks its own.
          await (run as (...args: unknown[]) => unknown)(...given);
        } catch (error) {
          void showError(error, studio.output);
        }
      }),
    ),
  );
}
