import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LqError } from '../../../extension/core/errors';
import { isJob, isResumable, JobManager, type Job } from '../../../extension/host/model/jobs';
import { RecordStore } from '../../../extension/host/model/records';
import type { CompressRequest } from '../../../extension/core/requests/requests';

interface Call {
  method: string;
  params: unknown;
  signal: AbortSignal;
  progress: (done: number, partial?: unknown) => void;
  finish: (result: unknown) => void;
  fail: (error: LqError) => void;
}

const compressOf = (model: string): CompressRequest => ({
  model,
  out: `/out${model}`,
  budget: { kind: 'bits', value: 2.75 },
});
const heartbeatMs = 40;
const tick = () => new Promise(resolve => setTimeout(resolve, 5));

describe('JobManager', () => {
  let folder: string;
  let warnings: string[];
  let living: Set<number>;
  const stores: RecordStore<Job>[] = [];
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'lq-jobs-'));
    warnings = [];
    living = new Set();
  });
  afterEach(async () => {
    // A write still under way would come back to the folder while it is removed.
    for (const store of stores.splice(0)) await store.all();
    rmSync(folder, { recursive: true });
  });

  /** A window: its manager, and the calls its engine was asked for. */
  function window(owner: number) {
    const calls: Call[] = [];
    let count = 0;
    let versions = 0;
    const request = (
      method: string,
      params: unknown,
      options: { signal: AbortSignal; onProgress: (p: unknown) => void },
    ) =>
      new Promise<never>((resolve, reject) => {
        options.signal.addEventListener('abort', () => reject(new LqError('cancelled', 'Cancelled.')));
        calls.push({
          method,
          params,
          signal: options.signal,
          progress: (done, partial) => options.onProgress({ stage: 'sweep', done, total: 10, partial }),
          finish: result => resolve(result as never),
          fail: reject,
        });
      });
    const store = new RecordStore<Job>(folder, isJob, message => warnings.push(message));
    stores.push(store);
    const manager = new JobManager({
      engine: { request: request },
      store,
      owner,
      alive: pid => living.has(pid),
      now: () => 1000 + count,
      id: () => `${owner}-${++count}`,
      warn: message => warnings.push(message),
      heartbeatMs,
      version: file => Promise.resolve(`version ${++versions} of ${file}`),
    });
    /** Whatever happened so far is on disk. */
    const saved = () => store.all();
    return { manager, calls, saved };
  }

  it('reads weights beside work that holds a model, and tells the pieces that are found', async () => {
    const { manager, calls } = window(7);
    manager.start('compress', compressOf('/a'), 'Compress a');
    const reading = manager.start('statistics', { model: '/a' }, 'Statistics of a');
    const pieces: unknown[] = [];
    manager.onPiece((job, piece) => pieces.push([job.method, piece]));
    await tick();
    expect(calls.map(({ method }) => method)).toEqual(['compress', 'statistics']);
    calls[1]!.progress(1, 'first');
    calls[1]!.finish(['first', 'second']);
    const ended = await manager.settled(reading.id);
    // What is kept of it is not the values, which are kept tensor by tensor.
    expect([ended.status, ended.result]).toEqual(['done', null]);
    expect(pieces).toEqual([
      ['statistics', 'first'],
      ['statistics', ['first', 'second']],
    ]);
    expect(manager.current()?.method).toBe('compress');
  });

  it('remembers which files a job worked on and made', async () => {
    const { manager, calls } = window(7);
    const { id } = manager.start('compress', compressOf('/a'), 'Compress a');
    await tick();
    expect(manager.get(id)?.version).toBe('version 1 of /a');
    calls[0]!.finish({});
    const ended = await manager.settled(id);
    expect(ended.made).toBe('version 2 of /out/a');
    // Asked for again, it is of the files as they are then.
    const failing = manager.start('evaluate', { model: '/a', text: '/t' }, 'Evaluate a');
    await tick();
    calls[1]!.fail(new LqError('io', 'The disk is slow.'));
    await manager.settled(failing.id);
    manager.resume(failing.id);
    await tick();
    expect(manager.get(failing.id)?.version).toBe('version 4 of /a');
  });

  it('runs one job after another and keeps the result', async () => {
    const { manager, calls } = window(1);
    const first = manager.start('compress', compressOf('/a'), 'Compress a');
    const second = manager.start('evaluate', { model: '/a', text: '/t' }, 'Evaluate a');
    await tick();
    expect(calls.map(call => call.method)).toEqual(['compress']);
    expect(manager.get(second.id)?.status).toBe('queued');
    calls[0]!.progress(3);
    expect(manager.get(first.id)?.progress).toMatchObject({ done: 3 });
    calls[0]!.finish({ output: '/out' });
    expect((await manager.settled(first.id)).result).toEqual({ output: '/out' });
    await tick();
    expect(calls.map(call => call.method)).toEqual(['compress', 'evaluate']);
    calls[1]!.finish({ perplexity: 7 });
    expect(await manager.settled(second.id)).toMatchObject({ status: 'done', result: { perplexity: 7 } });
  });

  it('offers what a window that is gone left behind, and goes on with the same request', async () => {
    const before = window(1);
    before.manager.start('compress', compressOf('/a'), 'Compress a');
    await before.saved();
    const after = window(2);
    const { interrupted } = await after.manager.restore();
    expect(interrupted).toMatchObject([{ status: 'interrupted', title: 'Compress a' }]);
    expect(after.calls).toHaveLength(0);
    after.manager.resume(interrupted[0]!.id);
    await tick();
    expect(after.calls[0]).toMatchObject({ method: 'compress', params: compressOf('/a') });
    after.calls[0]!.finish({});
    await after.manager.settled(interrupted[0]!.id);
    expect(after.manager.get(interrupted[0]!.id)?.error).toBeUndefined();
  });

  it('leaves the job of a living window alone, and sees what became of it', async () => {
    living.add(1);
    const before = window(1);
    const job = before.manager.start('evaluate', { model: '/a', text: '/t' }, 'Evaluate a');
    await before.saved();
    const after = window(2);
    expect(await after.manager.restore()).toMatchObject({ interrupted: [], elsewhere: [{ id: job.id }] });
    before.calls[0]!.finish({ perplexity: 7 });
    await before.manager.settled(job.id);
    living.delete(1);
    await before.saved();
    expect(await after.manager.restore()).toEqual({ interrupted: [], elsewhere: [] });
    expect(after.manager.get(job.id)).toMatchObject({ status: 'done', result: { perplexity: 7 } });
  });

  it('calls a job interrupted when its engine dies, failed when it cannot be done', async () => {
    const { manager, calls } = window(1);
    const died = manager.start('compress', compressOf('/a'), 'a');
    const impossible = manager.start('compress', compressOf('/b'), 'b');
    await tick();
    calls[0]!.fail(new LqError('engine-died', 'The engine was killed by SIGKILL.'));
    expect(await manager.settled(died.id)).toMatchObject({ status: 'interrupted', error: { code: 'engine-died' } });
    await tick();
    calls[1]!.fail(new LqError('budget-infeasible', 'At least 2.1 bits.'));
    expect(await manager.settled(impossible.id)).toMatchObject({ status: 'failed' });
    manager.resume(died.id);
    await tick();
    expect(calls[2]).toMatchObject({ params: compressOf('/a') });
  });

  it('cancels a running job through its signal and a queued one at once', async () => {
    const { manager, calls } = window(1);
    const running = manager.start('compress', compressOf('/a'), 'a');
    const queued = manager.start('compress', compressOf('/b'), 'b');
    await tick();
    manager.cancel(queued.id);
    expect(manager.get(queued.id)?.status).toBe('cancelled');
    manager.cancel(running.id);
    expect(calls[0]!.signal.aborted).toBe(true);
    expect((await manager.settled(running.id)).status).toBe('cancelled');
    expect(calls).toHaveLength(1);
  });

  it('removes a job from disk, but none at work', async () => {
    const { manager, calls } = window(1);
    const job = manager.start('compress', compressOf('/a'), 'a');
    await tick();
    await expect(manager.remove(job.id)).rejects.toThrow(/cancelled before/);
    calls[0]!.finish({});
    await manager.settled(job.id);
    await manager.remove(job.id);
    expect(readdirSync(folder)).toEqual([]);
    expect(manager.all()).toEqual([]);
  });

  it('has nothing at work when it tells of an end', async () => {
    const { manager, calls } = window(1);
    const job = manager.start('compress', compressOf('/a'), 'a');
    await tick();
    const seen: (string | undefined)[] = [];
    manager.onChange(() => seen.push(manager.current()?.id));
    calls[0]!.finish({});
    await manager.settled(job.id);
    expect(seen).toEqual([undefined]);
  });

  it('writes no progress, which would be a write a matrix, but now and then that it is at work', async () => {
    const { manager, calls, saved } = window(1);
    const job = manager.start('compress', compressOf('/a'), 'a');
    await tick();
    const written = () => readFileSync(path.join(folder, `${job.id}.json`), 'utf8');
    calls[0]!.progress(5);
    await saved();
    expect(written()).not.toContain('progress');
    await new Promise(resolve => setTimeout(resolve, 2 * heartbeatMs));
    await saved();
    expect(JSON.parse(written())).toMatchObject({ progress: { done: 5 }, seen: 1001 });
  });

  it('is one job when the same is asked for twice, and refuses another that writes the same folder', async () => {
    const { manager, calls } = window(1);
    const first = manager.start('compress', compressOf('/a'), 'Compress a');
    expect(manager.start('compress', compressOf('/a'), 'Compress a').id).toBe(first.id);
    expect(() => manager.start('compress', { ...compressOf('/a'), ranks: [8] }, 'Compress a')).toThrow(
      /writes \/out\/a/,
    );
    await tick();
    expect(calls).toHaveLength(1);
    calls[0]!.finish({});
    await manager.settled(first.id);
    expect(manager.all()).toHaveLength(1);
    expect(manager.start('compress', compressOf('/a'), 'Compress a').id).not.toBe(first.id);
  });

  it('sees the jobs of another window with their progress, does not double them and cannot cancel them', async () => {
    living.add(1);
    const other = window(1);
    const own = window(2);
    const job = other.manager.start('compress', compressOf('/a'), 'Compress a');
    await tick();
    other.calls[0]!.progress(4);
    await new Promise(resolve => setTimeout(resolve, 2 * heartbeatMs));
    await other.saved();
    const seen: string[] = [];
    own.manager.onChange(({ id, status }) => seen.push(`${id} ${status}`));
    await own.manager.restore();
    expect(own.manager.get(job.id)).toMatchObject({ status: 'running', progress: { done: 4 } });
    expect(own.manager.isElsewhere(own.manager.get(job.id)!)).toBe(true);
    expect(own.manager.start('compress', compressOf('/a'), 'Compress a').id).toBe(job.id);
    expect(() => own.manager.cancel(job.id)).toThrow(/another window/);
    other.calls[0]!.finish({});
    await other.manager.settled(job.id);
    await other.manager.remove(job.id);
    await own.manager.restore();
    expect(own.manager.all()).toEqual([]);
    expect(own.calls).toEqual([]);
    expect(seen).toContain(`${job.id} running`);
  });

  it('does not call a cancellation an error, and says where asking again can help', async () => {
    const { manager, calls } = window(1);
    const ended = async (fail: (call: number) => void) => {
      const { id } = manager.start('compress', compressOf('/a'), 'a');
      await tick();
      fail(calls.length - 1);
      return manager.settled(id);
    };
    const { id } = manager.start('compress', compressOf('/a'), 'a');
    await tick();
    manager.cancel(id);
    const cancelled = await manager.settled(id);
    expect(cancelled.error).toBeUndefined();
    expect(isResumable(cancelled)).toBe(true);
    const full = await ended(call => calls[call]!.fail(new LqError('disk-full', 'No room.')));
    expect(isResumable(full)).toBe(true);
    const refused = await ended(call => calls[call]!.fail(new LqError('output-exists', 'It is there.')));
    expect(isResumable(refused)).toBe(false);
  });

  it('leaves out finished pieces, which are of no use to those who watch', async () => {
    const { manager, calls } = window(1);
    const job = manager.start('sweep', { model: '/a', ranks: [8] }, 'Measure a');
    await tick();
    calls[0]!.progress(1, { costs: [1, 2, 3] });
    expect(manager.get(job.id)?.progress).toEqual({ stage: 'sweep', done: 1, total: 10 });
    calls[0]!.finish({});
    await manager.settled(job.id);
  });

  it('reports a record it cannot read and reads the others', async () => {
    writeFileSync(path.join(folder, 'bad.json'), '{');
    writeFileSync(path.join(folder, 'old.json'), '{"id": "old"}');
    const before = window(1);
    before.manager.start('compress', compressOf('/a'), 'a');
    await before.saved();
    const { interrupted } = await window(2).manager.restore();
    expect(interrupted).toHaveLength(1);
    expect(new Set(warnings).size).toBe(2);
  });
});
