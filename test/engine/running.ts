/** What tests of the running product share: the built engine and command line, on a copy of the sample checkpoint. */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createEngineClient } from '../../extension/engine/client';
import type { QuantConfig } from '../../extension/core/native';
import type { EngineClient } from '../../extension/protocol/client';

export const root = path.resolve(__dirname, '..', '..');
export const sample = path.join(root, 'media', 'sample', 'tiny-books-4m');
export const calibration = path.join(root, 'media', 'sample', 'calibration.txt');
export const evaluation = path.join(root, 'media', 'sample', 'evaluation.txt');

/** Six configurations, enough for a plan to have choices. */
export const smallGrid: QuantConfig[] = [2, 3, 4].flatMap(b0 =>
  [16, 64].map(B0 => ({ b0, b1: 4, b2: 'bf16' as const, B0, B1: 64 })),
);

const built = path.join(root, 'dist', 'engine.js');

/** A client of the built engine; the caller disposes it. */
export function startEngine(): EngineClient {
  if (!existsSync(built)) throw new Error('Build first: npm run build && npm run build:native');
  return createEngineClient({ entry: built, client: 'test' });
}

/** A folder that is removed by `clean`. */
export function workFolder(): { folder: string; clean: () => void } {
  const folder = mkdtempSync(path.join(tmpdir(), 'lq-test-'));
  return { folder, clean: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A copy of the sample checkpoint that a test may damage. */
export function copySample(folder: string): string {
  const copy = path.join(folder, 'model');
  cpSync(sample, copy, { recursive: true });
  return copy;
}

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `lq-studio`; `wrap` may put a command in front. */
export function lqStudio(
  args: string[],
  options: { wrap?: string[]; interruptAfter?: RegExp } = {},
): Promise<Finished> {
  const command = [...(options.wrap ?? []), process.execPath, path.join(root, 'dist', 'cli.js'), ...args];
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  let interrupted = false;
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
    if (interrupted || !options.interruptAfter?.test(stderr)) return;
    interrupted = true;
    child.kill('SIGINT');
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', code => resolve({ code, stdout, stderr }));
  });
}
