import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createEngineClient } from '../../extension/engine/client';
import type { EngineClient } from '../../extension/protocol/client';

/** An engine of a few lines: what the client must cope with, without native code. */
function fakeEngine(body: string): string {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'lq-engine-')), 'engine.cjs');
  const rpc = JSON.stringify(path.resolve('node_modules/vscode-jsonrpc/node'));
  writeFileSync(
    file,
    `const rpc = require(${rpc});
     const connection = rpc.createMessageConnection(new rpc.IPCMessageReader(process), new rpc.IPCMessageWriter(process));
     let version = 1;
     ${body}
     connection.onRequest('handshake', () => ({ version, engine: 'fake', pid: process.pid }));
     connection.listen();`,
  );
  return file;
}

let client: EngineClient | undefined;
const start = (body: string): EngineClient =>
  (client = createEngineClient({ entry: fakeEngine(body), client: 'test' }));
afterEach(() => client?.dispose());

describe('engine client', () => {
  it('answers a request, with progress under its own id', async () => {
    const engine = start(`connection.onRequest('doctor', ({ request }) => {
      connection.sendNotification('progress', { request: request + 1, progress: { stage: 'open', done: 9, total: 9 } });
      connection.sendNotification('progress', { request, progress: { stage: 'open', done: 1, total: 2 } });
      return { version: 'x' };
    });`);
    const seen: number[] = [];
    const report = await engine.request('doctor', {}, { onProgress: progress => seen.push(progress.done) });
    expect(report.version).toBe('x');
    expect(seen).toEqual([1]);
    expect(engine.state).toBe('running');
  });

  it('turns an error response into the typed error it carries', async () => {
    const engine = start(`connection.onRequest('doctor', () => new rpc.ResponseError(-32603, 'no', {
      code: 'not-finite', message: 'w has a NaN', file: '/m', tensor: 'w', details: { index: 7 } }));`);
    await expect(engine.request('doctor', {})).rejects.toMatchObject({
      code: 'not-finite',
      file: '/m',
      tensor: 'w',
      details: { index: 7 },
    });
  });

  it('rejects everything pending when the engine is killed, and starts again on the next request', async () => {
    const engine = start(`connection.onRequest('doctor', () => new Promise(() => undefined));
      connection.onRequest('health', () => []);`);
    const states: string[] = [];
    engine.onStateChange(state => states.push(state));
    const outcomes = Promise.allSettled([engine.request('doctor', {}), engine.request('doctor', {})]);
    await expect(engine.request('health', { model: 'm' })).resolves.toEqual([]);
    process.kill(engine.pid as number, 'SIGKILL');
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'engine-died', message: expect.stringContaining('SIGKILL') as string },
      });
    await expect(engine.request('health', { model: 'm' })).resolves.toEqual([]);
    expect(states).toEqual(['starting', 'running', 'failed', 'starting', 'running']);
  });

  it('starts no engine for a request that was waiting for one when it was stopped', async () => {
    const forked = path.join(mkdtempSync(path.join(tmpdir(), 'lq-engine-')), 'forked');
    const engine = start(`require('node:fs').appendFileSync(${JSON.stringify(forked)}, 'x'); process.exit(1);`);
    await expect(engine.request('doctor', {})).rejects.toMatchObject({ code: 'engine-died' });
    // The next one is started a while after such a death.
    const waiting = engine.request('doctor', {});
    engine.dispose();
    await expect(waiting).rejects.toMatchObject({ code: 'engine-died' });
    await new Promise(resolve => setTimeout(resolve, 600));
    expect(readFileSync(forked, 'utf8')).toBe('x');
    expect(engine.state).toBe('stopped');
  });

  it('keeps the last words of an engine that dies while starting', async () => {
    const engine = start(
      `console.error('the addon is missing a symbol'); process.exitCode = 3; process.disconnect(); return;`,
    );
    await expect(engine.request('doctor', {})).rejects.toMatchObject({
      code: 'engine-died',
      message: expect.stringMatching(/exit code 3.*the addon is missing a symbol/s) as string,
    });
  });

  it('refuses an engine of another protocol', async () => {
    const engine = start('version = 99;');
    await expect(engine.request('doctor', {})).rejects.toMatchObject({ code: 'engine-version' });
  });

  it('passes a cancellation on, and starts nothing for a request that is already aborted', async () => {
    const engine = start(`connection.onRequest('doctor', (_, token) => new Promise(resolve =>
      token.onCancellationRequested(() =>
        resolve(new rpc.ResponseError(-1, 'stop', { code: 'cancelled', message: 'Cancelled.' })))));`);
    const abort = new AbortController();
    const request = engine.request('doctor', {}, { signal: abort.signal });
    const started = new Promise<void>(resolve => engine.onStateChange(state => state === 'running' && resolve()));
    void started.then(() => setTimeout(() => abort.abort(), 20));
    await expect(request).rejects.toMatchObject({ code: 'cancelled' });
    const idle = start('');
    await expect(idle.request('doctor', {}, { signal: abort.signal })).rejects.toMatchObject({ code: 'cancelled' });
    expect(idle.state).toBe('stopped');
  });
});
