/** Workers that share a sweep by their cache: without a scheduler, one killed, one stopped for longer than its heartbeat. */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ShardReport } from '../../extension/core/sensitivity/types';
import { calibration, lqStudio, root, sample, workFolder } from './running';

const { folder, clean } = workFolder();
afterAll(clean);
const at = (name: string): string => path.join(folder, name);
const SWEEP = [
  'sweep',
  sample,
  '--method',
  'lq-lora',
  '--rank',
  '4',
  '--plain',
  '--iterations',
  '2',
  '--device',
  'cpu',
  '--threads',
  '1',
];
const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

interface Worker {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

/** A worker whose engine is in its process group, so that signals reach both. */
function start(args: string[], environment: NodeJS.ProcessEnv = {}): Worker {
  const child = spawn(process.execPath, [path.join(root, 'dist', 'cli.js'), ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>(resolve =>
    child.on('close', code => resolve({ code, stdout, stderr })),
  );
  return { child, ended };
}
const signal = ({ child }: Worker, name: NodeJS.Signals): void => void process.kill(-child.pid!, name);
const claims = (cache: string, kind = 'sweep'): string[] =>
  existsSync(path.join(cache, kind)) ? readdirSync(path.join(cache, kind)).filter(name => name.endsWith('.claim')) : [];
const claimed = async (cache: string, by: number, kind = 'sweep'): Promise<void> => {
  for (;;) {
    for (const name of claims(cache, kind)) {
      const file = path.join(cache, kind, name);
      const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
      if (text.includes(`"pid":${by},`)) return;
    }
    await pause(10);
  }
};
/** The engine of a worker, which is who claims. */
async function engineOf({ child }: Worker): Promise<number> {
  for (;;) {
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
    if (children !== '') return Number(children.split(' ')[0]);
    await pause(10);
  }
}

let reference: unknown;
async function table(cache: string): Promise<unknown> {
  const out = at(`${path.basename(cache)}.json`);
  const { code, stderr } = await lqStudio([...SWEEP, '--cache', cache, '--out', out]);
  expect(code, stderr).toBe(0);
  return (JSON.parse(readFileSync(out, 'utf8')) as { matrices: unknown }).matrices;
}

describe('workers of one sweep', () => {
  it('share it, each matrix measured once, and end with one line of JSON', async () => {
    reference = await table(at('alone'));
    const cache = at('four');
    const workers = [1, 2, 3, 4].map(i => start([...SWEEP, '--cache', cache, '--shard', `${i}/4`]));
    const ends = await Promise.all(workers.map(({ ended }) => ended));
    for (const { code, stderr } of ends) expect(code, stderr).toBe(0);
    const reports = ends.map(({ stdout }) => JSON.parse(stdout.trim()) as ShardReport);
    expect(ends.every(({ stdout }) => stdout.trim().split('\n').length === 1)).toBe(true);
    const computed = reports.flatMap(report => report.computed);
    expect([...computed].sort()).toEqual([...new Set(computed)].sort());
    expect(computed).toHaveLength(28);
    for (const report of reports) expect(report.computed.length + report.found + report.left).toBe(28);
    expect(await table(cache)).toEqual(reference);
  });

  it('do without one that is killed: its matrix alone is measured again', async () => {
    const cache = at('killed');
    const workers = [1, 2].map(i => start([...SWEEP, '--cache', cache, '--shard', `${i}/2`]));
    const victim = workers[0]!;
    await claimed(cache, await engineOf(victim));
    signal(victim, 'SIGKILL');
    const { code, stdout } = await workers[1]!.ended;
    await victim.ended;
    expect(code).toBe(0);
    const report = JSON.parse(stdout.trim()) as ShardReport;
    expect(report.left).toBe(0);
    expect(report.computed.length).toBeGreaterThanOrEqual(26);
    expect(claims(cache)).toEqual([]);
    expect(await table(cache)).toEqual(reference);
  });

  it('take over from one that is stopped, which publishes nothing when it goes on', async () => {
    const cache = at('stopped');
    const environment = { LQ_STUDIO_CLAIM_TIMEOUT: '1.5' };
    // Plain processes, no scheduler: each does all that is left.
    const outs = [1, 2, 3, 4].map(i => at(`stopped-${i}.json`));
    const workers = outs.map(out => start([...SWEEP, '--cache', cache, '--out', out], environment));
    const stopped = workers[0]!;
    await claimed(cache, await engineOf(stopped));
    signal(stopped, 'SIGSTOP');
    for (const { code, stderr } of await Promise.all(workers.slice(1).map(({ ended }) => ended)))
      expect(code, stderr).toBe(0);
    const entries = (): [string, string][] =>
      readdirSync(path.join(cache, 'sweep')).map(name => [name, readFileSync(path.join(cache, 'sweep', name), 'utf8')]);
    const before = entries();
    signal(stopped, 'SIGCONT');
    const { code, stderr } = await stopped.ended;
    expect(code, stderr).toBe(0);
    expect(entries()).toEqual(before);
    expect(before).toHaveLength(28);
    for (const out of outs)
      expect((JSON.parse(readFileSync(out, 'utf8')) as { matrices: unknown }).matrices).toEqual(reference);
  });
});

describe('workers of one calibration', () => {
  const CALIBRATE = [
    ...['calibrate', sample, '--calibration', calibration, '--samples', '10', '--context', '256', '--parts', '4'],
    ...['--device', 'cpu', '--threads', '1', '--json'],
  ];

  it('share its parts, one of them stopped for longer than its heartbeat: all have what one process has', async () => {
    const alone = await lqStudio([...CALIBRATE, '--cache', at('calibrate-alone'), '--out', at('alone.stats')]);
    expect(alone.code, alone.stderr).toBe(0);
    const cache = at('calibrate-four');
    const workers = [1, 2, 3, 4].map(i =>
      start([...CALIBRATE, '--cache', cache, '--out', at(`${i}.stats`), '--shard', `${i}/4`], {
        LQ_STUDIO_CLAIM_TIMEOUT: '1.5',
      }),
    );
    const stopped = workers[0]!;
    await claimed(cache, await engineOf(stopped), 'calibration');
    signal(stopped, 'SIGSTOP');
    for (const { code, stderr } of await Promise.all(workers.slice(1).map(({ ended }) => ended)))
      expect(code, stderr).toBe(0);
    signal(stopped, 'SIGCONT');
    const { code, stderr, stdout } = await stopped.ended;
    expect(code, stderr).toBe(0);
    const [one, other] = [alone.stdout, stdout].map(
      text => JSON.parse(text) as { samples: number; losses: number[]; warnings: string[] },
    );
    expect(one!.losses).toHaveLength(10);
    expect(other).toMatchObject({ samples: 10, losses: one!.losses, warnings: one!.warnings });
    for (const i of [1, 2, 3, 4])
      expect(readFileSync(at(`${i}.stats`)).equals(readFileSync(at('alone.stats'))), `${i}`).toBe(true);
    // Four parts and their sum.
    const files = readdirSync(path.join(cache, 'calibration'));
    expect(files.filter(name => name.endsWith('.safetensors'))).toHaveLength(5);
    expect(claims(cache, 'calibration')).toEqual([]);
  });
});

describe('workers of a compression by the default method', () => {
  it('share statistics, sweep and encoding, and what gathers them writes what one process writes', async () => {
    const words = (out: string, cache: string): string[] => [
      ...['compress', sample, '--out', at(out), '--cache', at(cache), '--calibration', calibration, '--samples', '6'],
      ...['--context', '128', '--parts', '2', '--bits', '3', '--include', '*layers.0*', '--no-second-pass'],
      ...['--device', 'cpu', '--threads', '1'],
    ];
    const workers = [1, 2].map(i => start([...words('default', 'default-two'), '--shard', `${i}/2`]));
    const ends = await Promise.all(workers.map(({ ended }) => ended));
    for (const { code, stderr } of ends) expect(code, stderr).toBe(0);
    const computed = ends.flatMap(({ stdout }) => (JSON.parse(stdout.trim()) as ShardReport).computed);
    expect(new Set(computed).size).toBe(7);
    expect(computed).toHaveLength(7);
    const encoded = ends.flatMap(
      ({ stdout }) => ((JSON.parse(stdout.trim()) as ShardReport).encoded as { computed: readonly string[] }).computed,
    );
    expect(new Set(encoded).size).toBe(7);
    expect(encoded).toHaveLength(7);
    expect(readdirSync(path.join(at('default-two'), 'encoded'))).toHaveLength(14);
    for (const [out, cache] of [
      ['default', 'default-two'],
      ['default-alone', 'default-one'],
    ] as const) {
      const { code, stderr } = await lqStudio(words(out, cache));
      expect(code, stderr).toBe(0);
    }
    for (const name of readdirSync(at('default-alone')))
      expect(
        readFileSync(path.join(at('default'), name)).equals(readFileSync(path.join(at('default-alone'), name))),
        name,
      ).toBe(true);
    // The output is whole: what it was made of is gone.
    expect(readdirSync(path.join(at('default-two'), 'encoded'))).toEqual([]);
  });
});

describe('job scripts', () => {
  const job = [
    '--out',
    at('lq model'),
    '--method',
    'lq-lora',
    '--bits',
    '3',
    '--rank',
    '4',
    '--iterations',
    '2',
    '--cache',
    at('cluster'),
  ];

  it('for Slurm: an array of workers and a gather after them, which sbatch gets in that order', async () => {
    const args = ['cluster', 'slurm', sample, ...job, '--calibration', calibration, '--workers', '6', '--gpus', '2'];
    const { code, stdout } = await lqStudio(args);
    expect(code).toBe(0);
    // A stand-in that notes what it is asked and answers with a number, as sbatch does.
    const bin = at('bin');
    const log = at('sbatch.log');
    mkdirSync(bin);
    writeFileSync(
      path.join(bin, 'sbatch'),
      `#!/bin/bash\nn=$(($(cat ${log}.n 2>/dev/null || echo 40) + 1)); echo $n > ${log}.n\n{ echo "sbatch $*"; cat; } >> ${log}\necho "$n;cluster"\n`,
    );
    chmodSync(path.join(bin, 'sbatch'), 0o755);
    writeFileSync(at('job.sh'), stdout);
    const run = spawn('bash', [at('job.sh')], { env: { ...process.env, PATH: `${bin}:${process.env['PATH']}` } });
    expect(await new Promise(resolve => run.on('close', resolve))).toBe(0);
    const calls = readFileSync(log, 'utf8')
      .split(/^sbatch /m)
      .slice(1);
    expect(calls).toHaveLength(2);
    expect(calls[0]).toMatch(/--gres=gpu:2.*--array=0-5/);
    expect(calls[0]).toMatch(/lq-studio compress .*--calibration .*--shard auto/);
    expect(calls[0]).toContain(`--out '${at('lq model')}'`);
    expect(calls[1]).toMatch(/--dependency=afterany:41 /);
    expect(calls[1]).not.toContain('--shard');
    const submitted = await lqStudio([...args, '--submit', '--json'], {
      wrap: ['env', `PATH=${bin}:${process.env['PATH']}`],
    });
    expect(JSON.parse(submitted.stdout)).toMatchObject({ submitted: expect.stringContaining('44') as string });
  });

  it('let workers share the windows where statistics add up', async () => {
    const job = ['--out', at('shared'), '--bits', '3', '--cache', at('cluster'), '--calibration', calibration];
    const { code, stdout } = await lqStudio(['cluster', 'slurm', sample, ...job, '--workers', '6']);
    expect(code).toBe(0);
    expect(stdout.match(/lq-studio compress .*--parts 6/g)).toHaveLength(2);
    const refused = [...job, '--method', 'lq-lora', '--parts', '2', '--json'];
    const { stdout: said } = await lqStudio(['compress', sample, ...refused]);
    expect(JSON.parse(said)).toMatchObject({
      error: { code: 'usage', message: expect.stringContaining('--parts') as string },
    });
  });

  it('for Kubernetes: one indexed job a step', async () => {
    const args = [
      'cluster',
      'kubernetes',
      sample,
      ...job,
      '--plain',
      '--workers',
      '3',
      '--image',
      'lq:1',
      '--volume',
      'shared',
    ];
    const { stdout } = await lqStudio(args);
    const jobs = stdout.split('\n---\n').slice(1);
    expect(jobs.map(each => /name: (lq-\S+)/.exec(each)![1])).toEqual(['lq-workers', 'lq-gather']);
    expect(jobs[0]).toContain('completions: 3');
    expect(jobs[0]).toContain('{name: LQ_STUDIO_SHARDS, value: "3"}');
    expect(jobs[0]).toContain('completionMode: Indexed');
  });

  it('for ssh, run with a stand-in for ssh on this machine: the result of one process', async () => {
    const bin = at('ssh-bin');
    mkdirSync(bin);
    writeFileSync(path.join(bin, 'ssh'), `#!/bin/bash\nshift\nexec bash -c "$*"\n`);
    writeFileSync(
      path.join(bin, 'lq-studio'),
      `#!/bin/bash\nexec ${process.execPath} ${path.join(root, 'dist', 'cli.js')} "$@"\n`,
    );
    for (const name of ['ssh', 'lq-studio']) chmodSync(path.join(bin, name), 0o755);
    const { stdout, code, stderr } = await lqStudio([
      ...['cluster', 'ssh', sample, ...job, '--plain', '--device', 'cpu', '--host', 'one', '--host', 'two'],
    ]);
    expect(code, stderr).toBe(0);
    writeFileSync(at('ssh.sh'), stdout);
    const run = spawn('bash', [at('ssh.sh')], { env: { ...process.env, PATH: `${bin}:${process.env['PATH']}` } });
    expect(await new Promise(resolve => run.on('close', resolve))).toBe(0);
    const logs = readdirSync(`${at('cluster')}-logs`);
    expect(logs.sort()).toEqual(['gather.log', 'workers-1.log', 'workers-2.log']);
    const alone = await lqStudio([
      'compress',
      sample,
      ...job,
      '--plain',
      '--device',
      'cpu',
      '--out',
      at('alone model'),
      '--cache',
      at('alone'),
    ]);
    expect(alone.code, alone.stderr).toBe(0);
    for (const name of readdirSync(at('alone model')))
      expect(
        readFileSync(path.join(at('lq model'), name)).equals(readFileSync(path.join(at('alone model'), name))),
        name,
      ).toBe(true);
  });

  it('are refused where something is missing', async () => {
    for (const args of [
      ['kubernetes', sample],
      ['ssh', sample],
      ['pbs', sample],
      ['ssh', sample, '--host', 'a', '--submit'],
    ]) {
      const { code, stdout } = await lqStudio(['cluster', ...args, ...job, '--plain', '--json']);
      expect(code).toBe(2);
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'usage' } });
    }
  });
});
