/**
 * A compression on a real Slurm: an array of four workers on two nodes, of which one worker is killed and one node drained
 * in the middle. What is gathered is what a single process makes, and nothing is measured or encoded twice but what the killed one was at.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ClaimRecord } from '../../extension/core/storage/claims';
import type { ShardReport } from '../../extension/core/sensitivity/types';
import { lqStudio, root, sample } from '../engine/running';
import { startSlurm, until, type Slurm } from './slurm';

/** The model of six layers where it lies on this machine, else the sample. */
const books = path.join(process.env['LQ_MODELS'] ?? path.join(root, '..', 'shared', 'models'), 'books-16m');
const model = existsSync(books) ? books : sample;
const WORKERS = 4;

// A short path: sockets have 108 characters.
const folder = mkdtempSync('/tmp/lq-slurm-');
const at = (...names: string[]): string => path.join(folder, ...names);
const cache = at('cache');
const program = at('lq-studio');
const OPTIONS = '--method lq-lora --plain --bits 3 --rank 4 --iterations 2 --device cpu --threads 1'.split(' ');

let slurm: Slurm;
beforeAll(async () => {
  mkdirSync(at('slurm'));
  slurm = await startSlurm(at('slurm'));
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${path.join(root, 'dist', 'cli.js')} "$@"\n`, {
    mode: 0o755,
  });
});
afterAll(async () => {
  await slurm.stop();
  rmSync(folder, { recursive: true });
});

interface Seen {
  /** Processes that held the claim of a result, by its key. */
  readonly holders: ReadonlyMap<string, ReadonlySet<number>>;
  /** Files that had the result's name: a second one would be a second measurement. */
  readonly files: ReadonlyMap<string, ReadonlySet<number>>;
  close(): void;
}

/** Every claim and every result that is ever seen in the folder of the sweep. */
function watchClaims(sweep: string): Seen {
  const holders = new Map<string, Set<number>>();
  const files = new Map<string, Set<number>>();
  mkdirSync(sweep, { recursive: true });
  const note = (map: typeof holders, key: string, value: number): void =>
    void map.set(key, (map.get(key) ?? new Set()).add(value));
  const watcher = watch(sweep, (_event, name) => {
    const [, key, kind] = /^(.+)\.json(\.claim)?$/.exec(name ?? '') ?? [];
    if (key === undefined) return;
    try {
      if (kind === undefined) note(files, key, statSync(path.join(sweep, name!)).ino);
      else note(holders, key, (JSON.parse(readFileSync(path.join(sweep, name!), 'utf8')) as ClaimRecord).pid);
    } catch {
      // Gone again, or not written yet: the next event has it.
    }
  });
  return { holders, files, close: () => watcher.close() };
}

/** `KEY=VALUE` of a job's description. */
function describeJob(job: string): Record<string, string> {
  const text = slurm.ask('scontrol', 'show', 'job', job, '--oneliner');
  return Object.fromEntries(
    text
      .trim()
      .split(/\s+/)
      .map(word => word.split('=', 2) as [string, string]),
  );
}

const running = (): string[] => slurm.ask('squeue', '-h', '-t', 'R', '-o', '%F_%K').trim().split('\n').filter(Boolean);
const results = (): string[] => readdirSync(path.join(cache, 'sweep')).filter(name => name.endsWith('.json'));

it('gives what one process gives, without the worker that was killed and the node that was drained', async () => {
  const alone = await lqStudio(['compress', model, ...OPTIONS, '--out', at('alone'), '--cache', at('cache-alone')]);
  expect(alone.code, alone.stderr).toBe(0);
  const matrices = readdirSync(at('cache-alone', 'sweep')).length;

  const seen = watchClaims(path.join(cache, 'sweep'));
  const submitted = await new Promise<{ submitted: string }>((resolve, reject) => {
    const words = ['cluster', 'slurm', model, ...OPTIONS, '--out', at('gathered'), '--cache', cache];
    const options = ['--workers', String(WORKERS), '--gpus', '0', '--program', program, '--submit', '--json'];
    const child = spawn(program, [...words, ...options], { env: slurm.environment });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (err += data.toString()));
    child.on('close', code =>
      code === 0 ? resolve(JSON.parse(out) as { submitted: string }) : reject(new Error(out + err)),
    );
  });
  const gather = /the last job is (\d+)/.exec(submitted.submitted)![1]!;
  const array = String(Number(gather) - 1);
  const task = (index: number): string => `${array}_${index}`;

  // Two workers at a time: one of the first two is killed once both have measured something.
  const first = (): number | undefined =>
    [...seen.holders.values()].flatMap(pids => [...pids]).find(pid => indexOf(pid) === 0);
  await until(
    'two workers have begun',
    120,
    () => running().length === 2 && results().length >= 4 && first() !== undefined,
  );
  const victim = first()!;
  slurm.ask('scancel', '--signal=KILL', '--full', task(0));
  await until('the killed worker is gone', 30, () => !existsSync(`/proc/${victim}`));
  const done = new Set(results().map(name => name.slice(0, -'.json'.length)));
  const ofVictim = [...seen.holders].filter(([, pids]) => pids.has(victim)).map(([key]) => key);
  const unfinished = ofVictim.filter(key => !done.has(key));
  expect(unfinished.length).toBeLessThanOrEqual(1);

  // Its place is taken by the third; the node of the second is drained, so that the fourth starts on the other one.
  await until('the third worker has begun', 60, () => running().includes(task(2)));
  const drained = describeJob(task(1))['NodeList']!;
  expect(describeJob(task(3))['JobState']).toBe('PENDING');
  slurm.ask('scontrol', 'update', `NodeName=${drained}`, 'State=DRAIN', 'Reason=test');

  let measured: number | undefined;
  let heldBefore = 0;
  await until('the gathering job has ended', 400, () => {
    const states = slurm.ask('squeue', '-h', '-o', '%F %T').trim();
    if (measured === undefined && states.startsWith(`${gather} RUNNING`)) {
      measured = seen.files.size;
      heldBefore = seen.holders.size;
    }
    return states === '';
  });
  seen.close();
  const log = (step: string, index: number | string): string => {
    const [name] = readdirSync(`${cache}-logs`).filter(each => new RegExp(`^${step}-\\d+_${index}\\.log$`).test(each));
    return readFileSync(path.join(`${cache}-logs`, name!), 'utf8');
  };
  expect(describeJob(gather)['JobState'], log('gather', '\\d+')).toBe('COMPLETED');
  expect(slurm.ask('sinfo', '-h', '-N', '-n', drained, '-o', '%T').trim()).toBe('drained');
  expect(describeJob(task(3))['NodeList']).not.toBe(drained);

  // Each that lived says on one line what it measured; the killed one says nothing.
  const lines = (index: number): string[] =>
    log('workers', index)
      .split('\n')
      .filter(line => line.startsWith('{'));
  expect(lines(0)).toEqual([]);
  const reports = [1, 2, 3].map(index => {
    expect(lines(index)).toHaveLength(1);
    return JSON.parse(lines(index)[0]!) as ShardReport;
  });
  const computed = reports.flatMap(report => report.computed);
  expect(new Set(computed).size).toBe(computed.length);
  expect(computed.length + ofVictim.length - unfinished.length).toBe(matrices);
  // So it is with the plan's encoding, of which the last job does nothing.
  const encoded = reports.flatMap(report => (report.encoded as { computed: readonly string[] }).computed);
  expect(new Set(encoded).size).toBe(encoded.length);
  expect(encoded).toHaveLength(matrices);
  // No result was ever written in place of another, and the last job measured nothing.
  expect(seen.files.size).toBe(matrices);
  expect([...seen.files].filter(([, inodes]) => inodes.size !== 1)).toEqual([]);
  expect(measured).toBe(matrices);
  expect(seen.holders.size).toBe(heldBefore);

  const names = readdirSync(at('alone')).sort();
  expect(readdirSync(at('gathered')).sort()).toEqual(names);
  for (const name of names)
    expect(readFileSync(at('gathered', name)).equals(readFileSync(at('alone', name))), name).toBe(true);
});

/** The index of a process among the tasks of its array, as Slurm gave it; undefined when it is gone. */
function indexOf(pid: number): number | undefined {
  try {
    const found = /(?:^|\0)SLURM_ARRAY_TASK_ID=(\d+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'));
    return found ? Number(found[1]) : undefined;
  } catch {
    return undefined;
  }
}
