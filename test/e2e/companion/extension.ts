/** Another extension beside ours, as virtual workspaces have: a read-only file system that lives in memory. */
import * as vscode from 'vscode';

export const scheme = 'lq-memory';

/** A checkpoint of one matrix of zeros, and a script that names it. */
const header = '{"model.layers.0.mlp.up_proj.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}';
const length = Buffer.alloc(8);
length.writeUInt32LE(header.length);
const files = new Map<string, Uint8Array>([
  ['/work/model.safetensors', Buffer.concat([length, Buffer.from(header), Buffer.alloc(16)])],
  ['/work/train.py', Buffer.from('weight = "model.layers.0.mlp.up_proj.weight"\n')],
]);

const noWriting = (): never => {
  throw vscode.FileSystemError.NoPermissions('This file system is read-only.');
};

class MemoryFiles implements vscode.FileSystemProvider {
  readonly onDidChangeFile = new vscode.EventEmitter<vscode.FileChangeEvent[]>().event;
  readonly createDirectory = noWriting;
  readonly writeFile = noWriting;
  readonly delete = noWriting;
  readonly rename = noWriting;

  watch(): vscode.Disposable {
    return new vscode.Disposable(() => undefined);
  }

  stat(uri: vscode.Uri): vscode.FileStat {
    const file = files.get(uri.path);
    const isFolder = [...files.keys()].some(name => name.startsWith(uri.path === '/' ? '/' : `${uri.path}/`));
    if (!file && !isFolder) throw vscode.FileSystemError.FileNotFound(uri);
    const type = file ? vscode.FileType.File : vscode.FileType.Directory;
    return { type, ctime: 0, mtime: 0, size: file?.length ?? 0 };
  }

  readDirectory(uri: vscode.Uri): [string, vscode.FileType][] {
    const inside = [...files.keys()].filter(name => name.startsWith(`${uri.path}/`));
    return inside.map(name => [name.slice(uri.path.length + 1), vscode.FileType.File]);
  }

  readFile(uri: vscode.Uri): Uint8Array {
    const file = files.get(uri.path);
    if (!file) throw vscode.FileSystemError.FileNotFound(uri);
    return file;
  }
}

/** Called by VS Code when the file system is first asked for. */
export function activate(context: vscode.ExtensionContext): void {
  context.subscriptions.push(
    vscode.workspace.registerFileSystemProvider(scheme, new MemoryFiles(), { isReadonly: true }),
  );
}
