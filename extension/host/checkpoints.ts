import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError, type ErrorData } from '../core/errors';
import { ggufParts } from '../core/checkpoint/gguf/open';
import { compareNatural } from '../core/checkpoint/order';
import type { Model, Models } from './model/models';

/** A checkpoint of the workspace, or one opened from elsewhere. */
export interface Checkpoint {
  /** Its identity: `Model.path`, or the file when it could not be opened. */
  readonly path: string;
  /** The file that stands for it. */
  readonly file: string;
  readonly model?: Model;
  readonly error?: ErrorData;
}

const pattern = '**/{*.safetensors,*.gguf,*.safetensors.index.json,config.json,adapter_config.json}';
/** Half-written outputs, caches, and what is never a checkpoint of one's own. */
const excluded = '**/{node_modules,.git,.lq-cache,*.partial,*.replaced}/**';
const outsideKey = 'lqStudio.outside';
const limit = 5000;

/** Finds checkpoints, opens their headers, and notices when they change. */
export class Checkpoints implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  /** Fires when the list or a checkpoint in it changed. */
  readonly onDidChange = this.changed.event;
  private readonly disposables: { dispose(): void }[] = [this.changed];
  private readonly outsideWatchers = new Map<string, vscode.Disposable>();
  private found: Promise<Checkpoint[]> | undefined;
  private readonly stale = new Set<string>();
  private settle: NodeJS.Timeout | undefined;

  constructor(
    private readonly models: Models,
    private readonly memento: vscode.Memento,
    private readonly output: vscode.LogOutputChannel,
  ) {
    const watcher = vscode.workspace.createFileSystemWatcher(pattern);
    this.listen(watcher);
    // A folder that is renamed or deleted says nothing of the files in it.
    const folders = vscode.workspace.createFileSystemWatcher('**', true, true, false);
    folders.onDidDelete(uri => void this.onRemoved(uri));
    this.disposables.push(
      watcher,
      folders,
      vscode.workspace.onDidChangeWorkspaceFolders(() => this.refresh()),
    );
    for (const each of this.outside()) this.watchOutside(each);
  }

  /** Every checkpoint in natural order; looked for the first time and after changes. */
  list(): Promise<Checkpoint[]> {
    return (this.found ??= this.find());
  }

  /** Opens a path and, when it is of no workspace folder, keeps it in the list. @throws LqError of `openCheckpoint`. */
  async add(given: string): Promise<Model> {
    const model = await this.models.open(given);
    const inside = vscode.workspace.getWorkspaceFolder(vscode.Uri.file(model.file)) !== undefined;
    const outside = this.outside();
    if (!inside && !outside.includes(model.path)) {
      await this.memento.update(outsideKey, [...outside, model.path]);
      this.watchOutside(model.path);
      this.refresh();
    }
    return model;
  }

  /** Drops a checkpoint of no workspace folder from the list; its files stay. */
  async forget(given: string): Promise<void> {
    await this.memento.update(
      outsideKey,
      this.outside().filter(each => each !== given),
    );
    this.outsideWatchers.get(given)?.dispose();
    this.outsideWatchers.delete(given);
    this.refresh();
  }

  isOutside(given: string): boolean {
    return this.outside().includes(given);
  }

  refresh(): void {
    this.found = undefined;
    this.changed.fire();
  }

  dispose(): void {
    clearTimeout(this.settle);
    for (const watcher of this.outsideWatchers.values()) watcher.dispose();
    for (const disposable of this.disposables) disposable.dispose();
  }

  private outside(): string[] {
    return this.memento.get<string[]>(outsideKey, []);
  }

  private watchOutside(given: string): void {
    const folder = /\.(?:safetensors|gguf|safetensors\.index\.json)$/.test(given) ? path.dirname(given) : given;
    const watcher = vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(vscode.Uri.file(folder), '*'));
    this.listen(watcher);
    this.outsideWatchers.set(given, watcher);
  }

  private listen(watcher: vscode.FileSystemWatcher): void {
    const changed = (uri: vscode.Uri) => {
      if (uri.scheme !== 'file') return;
      this.stale.add(uri.fsPath);
      clearTimeout(this.settle);
      // A checkpoint is written in many pieces; once they stop coming is early enough.
      this.settle = setTimeout(() => void this.reload(), 300);
    };
    watcher.onDidCreate(changed);
    watcher.onDidChange(changed);
    watcher.onDidDelete(changed);
  }

  /** Looks again when what was removed held a checkpoint. */
  private async onRemoved(uri: vscode.Uri): Promise<void> {
    if (uri.scheme !== 'file') return;
    const inside = `${uri.fsPath}${path.sep}`;
    const held = (await this.list()).filter(({ file }) => file.startsWith(inside));
    if (held.length === 0) return;
    for (const { file } of held) this.stale.add(file);
    await this.reload();
  }

  private async reload(): Promise<void> {
    const files = [...this.stale];
    this.stale.clear();
    for (const file of files) await this.models.invalidate(file);
    this.refresh();
  }

  private async find(): Promise<Checkpoint[]> {
    const started = performance.now();
    const [indexes, weights, ggufs] = await Promise.all([
      findLocal('**/*.safetensors.index.json'),
      findLocal('**/*.safetensors'),
      findLocal('**/*.gguf'),
    ]);
    const whole = await Promise.all(indexes.map(file => this.open(file)));
    const covered = new Set(whole.flatMap(each => each.model?.index.shards.map(shard => shard.file) ?? []));
    const single = weights.filter(file => !covered.has(file));
    // A split GGUF file stands in the list once, by its first part.
    const parts = new Set(ggufs.map(file => ggufParts(file)[0]!));
    const rest = await Promise.all([...single, ...parts, ...this.outside()].map(file => this.open(file)));
    const byPath = new Map([...whole, ...rest].map(each => [each.path, each]));
    const all = [...byPath.values()].sort((a, b) => compareNatural(a.path, b.path));
    this.output.debug(`Found ${all.length} checkpoints in ${Math.round(performance.now() - started)} ms`);
    return all;
  }

  private async open(file: string): Promise<Checkpoint> {
    try {
      const model = await this.models.open(file);
      return { path: model.path, file: model.file, model };
    } catch (error) {
      return { path: file, file, error: LqError.from(error).toJSON() };
    }
  }
}

/**
 * Paths that match in the folders that lie on a disk. Others are left out: nothing of theirs could be opened, and a search of
 * a virtual file system that offers none would wait for ever.
 */
async function findLocal(glob: string): Promise<string[]> {
  const folders = (vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file');
  const found = await Promise.all(
    folders.map(folder => vscode.workspace.findFiles(new vscode.RelativePattern(folder, glob), excluded, limit)),
  );
  // A folder within another of the workspace is searched twice.
  return [...new Set(found.flat().map(uri => uri.fsPath))];
}
