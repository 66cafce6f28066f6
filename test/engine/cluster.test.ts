/** Workers that share a sweep by their cache: without a scheduler, one killed, one stopped for longer than its heartbeat. */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, watch, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
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

describe('workers of one Fisher information', () => {
  it('share its parts: all have what one process has', async () => {
    const words = [
      ...['fisher', sample, '--calibration', calibration, '--samples', '5', '--context', '128', '--parts', '3'],
      ...['--include', '*layers.0*', '--device', 'cpu', '--threads', '1', '--json'],
    ];
    const workers = [1, 2].map(i =>
      start([...words, '--cache', at('fisher-two'), '--out', at(`${i}.fisher`), '--shard', `${i}/2`]),
    );
    const [ends, alone, whole] = await Promise.all([
      Promise.all(workers.map(({ ended }) => ended)),
      lqStudio([...words, '--cache', at('fisher-one'), '--out', at('alone.fisher')]),
      lqStudio([
        ...words.filter(word => word !== '--parts' && word !== '3'),
        ...['--cache', at('fisher-whole'), '--out', at('whole.fisher')],
      ]),
    ]);
    type Report = { samples: number; losses: number[]; matrices: { name: string; sum: number }[] };
    const reports = [...ends, alone, whole].map(({ code, stdout, stderr }) => {
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout) as Report;
    });
    for (const i of [1, 2]) expect(readFileSync(at(`${i}.fisher`)).equals(readFileSync(at('alone.fisher')))).toBe(true);
    const together = reports.pop()!;
    for (const { samples, losses, matrices } of reports) {
      expect(samples).toBe(5);
      expect(losses).toEqual(together.losses);
      // Two sums of the same squares in another order, in fp32.
      for (const [i, { name, sum }] of matrices.entries()) {
        expect(name).toBe(together.matrices[i]!.name);
        expect(Math.abs(sum / together.matrices[i]!.sum - 1)).toBeLessThan(1e-5);
      }
    }
    // Three parts and their sum.
    const files = readdirSync(path.join(at('fisher-two'), 'fisher'));
    expect(files.filter(name => name.endsWith('.safetensors'))).toHaveLength(4);
  });
});

describe('workers of a compression by the default method, in layer order', () => {
  const words = (out: string, cache: string): string[] => [
    ...['compress', sample, '--out', at(out), '--cache', at(cache), '--calibration', calibration, '--samples', '6'],
    ...[
      '--context',
      '128',
      '--parts',
      '2',
      '--bits',
      '3',
      '--include',
      '*layers.0*',
      '--device',
      'cpu',
      '--threads',
      '1',
    ],
  ];
  type Encoded = { readonly computed: readonly string[] };
  const gathered = async (out: string, cache: string): Promise<void> => {
    const { code, stderr } = await lqStudio(words(out, cache));
    expect(code, stderr).toBe(0);
  };
  const expectAlike = (out: string): void => {
    for (const name of readdirSync(at('default-alone')))
      expect(readFileSync(at(`${out}/${name}`)).equals(readFileSync(at(`default-alone/${name}`))), name).toBe(true);
  };
  const entries = (cache: string): string[] =>
    readdirSync(path.join(at(cache), 'encoded')).filter(name => name.endsWith('.parts'));

  it('share statistics, sweep and encoding, and what gathers them writes what one process writes', async () => {
    const workers = [1, 2].map(i => start([...words('default', 'default-two'), '--shard', `${i}/2`]));
    const ends = await Promise.all(workers.map(({ ended }) => ended));
    for (const { code, stderr } of ends) expect(code, stderr).toBe(0);
    const reports = ends.map(({ stdout }) => JSON.parse(stdout.trim()) as ShardReport & { encoded: Encoded });
    for (const done of [
      reports.flatMap(({ computed }) => computed),
      reports.flatMap(({ encoded }) => encoded.computed),
    ]) {
      expect(new Set(done).size).toBe(7);
      expect(done).toHaveLength(7);
    }
    expect(entries('default-two')).toHaveLength(7);
    await gathered('default', 'default-two');
    await gathered('default-alone', 'default-one');
    expectAlike('default');
    // The output is whole: what it was made of is gone.
    expect(readdirSync(path.join(at('default-two'), 'encoded'))).toEqual([]);
  });

  it('do without one that is killed while it encodes: its matrix alone is encoded again', async () => {
    const cache = 'encoding-killed';
    const folder = path.join(at(cache), 'encoded');
    mkdirSync(folder, { recursive: true });
    // Who began what: a claim is empty for the moment between its making and its first word.
    const begun = new Map<string, Set<number>>();
    const note = (name: string, again = 5): void => {
      const file = path.join(folder, name);
      const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
      const pid = /"pid":(\d+)/.exec(text)?.[1];
      const key = name.slice(0, -'.parts.claim'.length);
      if (pid !== undefined) begun.set(key, (begun.get(key) ?? new Set()).add(Number(pid)));
      else if (again > 0) setTimeout(() => note(name, again - 1), 2);
    };
    const watcher = watch(folder, (_, name) => name?.endsWith('.parts.claim') && note(name));
    const workers = [1, 2].map(i => start([...words('killed-out', cache), '--shard', `${i}/2`]));
    const victim = workers[0]!;
    const engine = await engineOf(victim);
    await claimed(at(cache), engine, 'encoded');
    signal(victim, 'SIGSTOP');
    const finished = entries(cache).map(name => name.slice(0, -'.parts'.length));
    signal(victim, 'SIGKILL');
    expect((await victim.ended).stdout).toBe('');
    const { code, stdout, stderr } = await workers[1]!.ended;
    watcher.close();
    expect(code, stderr).toBe(0);
    const of = [...begun].filter(([, pids]) => pids.has(engine)).map(([key]) => key);
    const unfinished = of.filter(key => !finished.includes(key));
    expect(unfinished).toHaveLength(1);
    const { encoded } = JSON.parse(stdout.trim()) as { encoded: Encoded };
    expect(new Set(encoded.computed).size).toBe(encoded.computed.length);
    expect(encoded.computed.length + of.length - unfinished.length).toBe(7);
    expect(entries(cache)).toHaveLength(7);
    expect(claims(at(cache), 'encoded')).toEqual([]);
    await gathered('killed-out', cache);
    expectAlike('killed-out');
  });
});

/** What of a Kubernetes Job the manifests say. */
interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: unknown;
  spec: {
    activeDeadlineSeconds: number;
    backoffLimit: number;
    template: {
      spec: {
        restartPolicy: string;
        volumes: unknown[];
        containers: {
          command: string[];
          env: unknown[];
          resources: { requests: { memory: string }; limits: Record<string, number> };
        }[];
      };
    };
  };
}

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
    const refused = ['--out', at('shared'), '--bits', '3', '--plain', '--parts', '2', '--json'];
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
    // Read as YAML 1.1, which kubectl does.
    const jobs = parseAllDocuments(stdout, { version: '1.1' }).map(document => {
      expect(document.errors).toEqual([]);
      return document.toJS() as Manifest;
    });
    expect(jobs.map(({ kind, apiVersion, metadata }) => [kind, apiVersion, metadata])).toEqual([
      ['Job', 'batch/v1', { name: 'lq-workers', labels: { step: 'workers' } }],
      ['Job', 'batch/v1', { name: 'lq-gather', labels: { step: 'gather' } }],
    ]);
    for (const [i, { spec }] of jobs.entries()) {
      const count = i === 0 ? 3 : 1;
      expect(spec).toMatchObject({ completions: count, parallelism: count, completionMode: 'Indexed' });
      expect(Number.isInteger(spec.activeDeadlineSeconds) && Number.isInteger(spec.backoffLimit)).toBe(true);
      const { restartPolicy, volumes, containers } = spec.template.spec;
      expect(restartPolicy).toBe('Never');
      expect(volumes).toEqual([{ name: 'shared', persistentVolumeClaim: { claimName: 'shared' } }]);
      const [container] = containers;
      // A variable's value is text.
      expect(container!.env).toEqual([{ name: 'LQ_STUDIO_SHARDS', value: String(count) }]);
      expect(container).toMatchObject({ image: 'lq:1', volumeMounts: [{ name: 'shared', mountPath: '/shared' }] });
      expect(container!.resources.requests.memory).toMatch(/^\d+G$/);
      expect(container!.resources.limits).toEqual({ 'nvidia.com/gpu': 1 });
      const [shell, flag, line] = container!.command;
      expect([shell, flag]).toEqual(['sh', '-c']);
      expect(line).toContain(`--out '${at('lq model')}'`);
      expect(line!.includes('--shard auto')).toBe(i === 0);
    }
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
