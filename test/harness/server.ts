/** A VS Code server of our own for tests, started by scripts/code-server.mjs and stopped with the test file. */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const repository = path.resolve(import.meta.dirname, '..', '..');
export const sampleModel = path.join(repository, 'media', 'sample', 'tiny-books-4m');

/** Texts to calibrate with and to evaluate on. */
export const sampleTexts = ['calibration.txt', 'evaluation.txt'].map(name =>
  path.join(repository, 'media', 'sample', name),
);

/** What `npm run package` made. */
export const packagedExtension = path.join(repository, 'lq-studio-linux-x64.vsix');

export interface Server {
  url: string;
  /** Process id of the server; its extension hosts and the engine are below it. */
  pid: number;
  stop(): Promise<void>;
}

export interface ServerOptions {
  /** .vsix files to install first. */
  extensions?: string[];
  /** User settings beyond those that keep the workbench quiet. */
  settings?: Record<string, unknown>;
  /** Folders are not trusted until someone says so; otherwise all are. */
  trust?: boolean;
  /** Lets mocha run inside the extension host; suppresses notifications. */
  testDriver?: boolean;
}

/** Starts a server and waits until it answers. */
export function startServer(options: ServerOptions = {}): Promise<Server> {
  const state = mkdtempSync(path.join(tmpdir(), 'lq-server-'));
  const child = spawn(
    process.execPath,
    [
      path.join(repository, 'scripts', 'code-server.mjs'),
      ...['--state', state, '--workspace', state],
      ...(options.extensions ?? []).flatMap(file => ['--extension', file]),
      ...(options.settings ? ['--settings', JSON.stringify(options.settings)] : []),
      ...(options.trust ? ['--trust'] : []),
      ...(options.testDriver ? ['--test-driver'] : []),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    void exited.then(() => reject(new Error(`The server ended before it answered; its state is in ${state}`)));
    child.stdout.once('data', (data: Buffer) =>
      resolve({
        url: data.toString().trim(),
        pid: child.pid!,
        stop: async () => {
          child.kill('SIGTERM');
          await exited;
          rmSync(state, { recursive: true, force: true, maxRetries: 5 });
        },
      }),
    );
  });
}

/**
 * A scratch workspace with copies of the given files or folders.
 * @param settings written as the workspace's settings.json
 */
export function makeWorkspace(contents: string[], settings: Record<string, unknown> = {}): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'lq-workspace-'));
  for (const source of contents) cpSync(source, path.join(folder, path.basename(source)), { recursive: true });
  mkdirSync(path.join(folder, '.vscode'));
  writeFileSync(path.join(folder, '.vscode', 'settings.json'), JSON.stringify(settings, null, 2));
  return folder;
}
