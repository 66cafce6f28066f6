import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import { Checkpoints } from './checkpoints';
import { publishContext } from './commands/inspect';
import { registerCommands } from './commands/register';
import { Decorations } from './decorations';
import { CheckpointEditor } from './editor';
import { Engine } from './engine';
import { HealthProblems } from './health';
import { Hovers } from './hovers';
import { createJobs, createJobStore, watchJobs } from './jobs';
import { Models } from './model/models';
import { Selection } from './model/selection';
import { StatisticsCache } from './model/statistics';
import { navigate } from './navigate';
import { Panels } from './panels';
import { RunTree } from './runs';
import { Workers } from './workers';
import { keepStatistics } from './statistics';
import { Status } from './status';
import type { Studio } from './studio';
import { offerCommandLine } from './terminal';
import { CheckpointTree } from './tree';

/** What tests in the extension host look at: VS Code has no way to read another's tree or decorations. */
export interface Internals {
  studio: Studio;
  tree: CheckpointTree;
  decorations: Decorations;
}

/**
 * Called by VS Code once it has started. Registers what the manifest contributes and lets the search for checkpoints begin;
 * reads nothing itself, and starts no engine: that waits until a value is asked for.
 */
export function activate(context: vscode.ExtensionContext): Internals | undefined {
  const own = <T extends { dispose(): void }>(disposable: T): T => {
    context.subscriptions.push(disposable);
    return disposable;
  };
  const output = own(vscode.window.createOutputChannel('LQ Studio', { log: true }));
  const entry = context.asAbsolutePath(path.join('dist', 'engine.js'));
  const engine = own(
    new Engine(async () => {
      const { createEngineClient } = await import('../engine/client');
      return createEngineClient({ entry, client: 'vscode', onLog: (level, message) => log(output, level, message) });
    }, output),
  );
  const storage = context.globalStorageUri.fsPath;
  const models = new Models();
  const checkpoints = own(new Checkpoints(models, context.workspaceState, output));
  const statistics = new StatisticsCache(path.join(storage, 'statistics'), message => output.warn(message));
  own({ dispose: () => void statistics.flush() });
  // Jobs belong to a workspace: its window is the one that offers to go on with them.
  const store = createJobStore((context.storageUri ?? context.globalStorageUri).fsPath, output);
  const jobs = createJobs(engine, store, models, output);
  own({ dispose: keepStatistics(jobs, models, statistics) });
  const studio: Studio = {
    extension: context.extensionUri,
    storage,
    memento: context.workspaceState,
    output,
    models,
    checkpoints,
    engine,
    jobs,
    statistics,
    selection: new Selection(),
    compressions: new Selection(),
    navigate: destination => navigate(studio, panels, destination),
    isShown: destination => panels.isShown(destination),
    active: () => panels.active(),
  };
  const panels = own(new Panels(studio));
  own(new CheckpointEditor(panels));
  const decorations = own(new Decorations(models, checkpoints));
  own(new Hovers(checkpoints, statistics));
  const problems = own(new HealthProblems(checkpoints));

  const tree = own(new CheckpointTree(checkpoints, statistics));
  const view = own(
    vscode.window.createTreeView('lqStudio.checkpoints', { treeDataProvider: tree, showCollapseAll: true }),
  );
  own(view.onDidExpandElement(({ element }) => tree.keepExpanded(element, true)));
  own(view.onDidCollapseElement(({ element }) => tree.keepExpanded(element, false)));
  const workers = own(new Workers(studio));
  const runs = own(new RunTree(studio, workers));
  const list = own(vscode.window.createTreeView('lqStudio.runs', { treeDataProvider: runs, canSelectMany: true }));
  own(list.onDidChangeVisibility(({ visible }) => workers.watch(visible)));
  workers.watch(list.visible);
  const status = own(new Status(engine, jobs));
  own(registerCommands(studio, { tree, view }, problems));
  own(
    watchJobs(studio, store, () => {
      runs.refresh();
      status.update();
    }),
  );

  offerCommandLine(context).catch((error: unknown) => {
    output.warn(`lq-studio is not on the PATH of terminals: ${LqError.from(error).message}`);
  });
  own(checkpoints.onDidChange(() => void publishContext(checkpoints)));
  void publishContext(checkpoints);
  return context.extensionMode === vscode.ExtensionMode.Test ? { studio, tree, decorations } : undefined;
}

function log(output: vscode.LogOutputChannel, level: 'info' | 'warning' | 'error', message: string): void {
  if (level === 'warning') output.warn(message);
  else output[level](message);
}
