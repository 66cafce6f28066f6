import type * as vscode from 'vscode';
import type { CompressShow, Destination } from '../protocol/panels';
import type { Checkpoints } from './checkpoints';
import type { Engine } from './engine';
import type { JobManager } from './model/jobs';
import type { Models } from './model/models';
import type { Selection } from './model/selection';
import type { StatisticsCache } from './model/statistics';

/** The services of one window, made in `activate` and handed to whoever needs them. */
export interface Studio {
  readonly extension: vscode.Uri;
  /** Files of our own that no other window minds: sweep tables, Fisher information. */
  readonly storage: string;
  readonly memento: vscode.Memento;
  readonly output: vscode.LogOutputChannel;
  readonly models: Models;
  readonly checkpoints: Checkpoints;
  readonly engine: Engine;
  readonly jobs: JobManager;
  readonly statistics: StatisticsCache;
  /** Tensors that checkpoints' panels are to show. */
  readonly selection: Selection<string>;
  /** What compress panels are to show. */
  readonly compressions: Selection<CompressShow>;
  /** Takes the user to a panel, a file, the settings or a command. */
  navigate(destination: Destination): Promise<void>;
  /** Whether the panel that a destination leads to is before the user's eyes. */
  isShown(destination: Destination): boolean;
  /** What the active panel or editor of ours is of, and the tensor selected in it. */
  active(): { model?: string; tensor?: string } | undefined;
}
