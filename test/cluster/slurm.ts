/** A Slurm of its own for a test: munge, one controller and two node daemons on this machine, in a folder of their own. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname, totalmem, userInfo } from 'node:os';
import path from 'node:path';

const NODES = ['n1', 'n2'] as const;

export interface Slurm {
  /** For programs that talk to it: sbatch, scontrol, squeue, scancel. */
  readonly environment: NodeJS.ProcessEnv;
  /** Output of one of them. @throws with what it says. */
  ask(program: string, ...args: string[]): string;
  stop(): Promise<void>;
}

/** Ports between those that are registered and those that Linux hands out. */
const FIRST_PORT = 17810;

/**
 * Each node has one processor, so that of more jobs than two the rest wait. The daemons run as whoever runs the test: jobs of
 * the same user need nothing else.
 */
function configuration(folder: string): string {
  const user = userInfo().username;
  const memory = Math.floor(totalmem() / 2 ** 20 / NODES.length);
  return [
    'ClusterName=lq',
    `SlurmctldHost=${hostname()}(127.0.0.1)`,
    `SlurmUser=${user}`,
    `SlurmdUser=${user}`,
    'AuthType=auth/munge',
    `AuthInfo=socket=${folder}/munge/socket`,
    'CredType=cred/munge',
    `SlurmctldPort=${FIRST_PORT}`,
    `StateSaveLocation=${folder}/state`,
    `SlurmctldPidFile=${folder}/slurmctld.pid`,
    `SlurmctldLogFile=${folder}/slurmctld.log`,
    `SlurmdSpoolDir=${folder}/%n`,
    `SlurmdPidFile=${folder}/%n.pid`,
    `SlurmdLogFile=${folder}/%n.log`,
    'ProctrackType=proctrack/linuxproc',
    'TaskPlugin=task/none',
    'SelectType=select/cons_tres',
    'SelectTypeParameters=CR_Core',
    'AccountingStorageType=accounting_storage/none',
    'JobAcctGatherType=jobacct_gather/none',
    'MpiDefault=none',
    'ReturnToService=2',
    'SchedulerParameters=sched_interval=1',
    ...NODES.map(
      (node, i) =>
        `NodeName=${node} NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${FIRST_PORT + 1 + i} CPUs=1 RealMemory=${memory}`,
    ),
    `PartitionName=main Nodes=${NODES.join()} Default=YES MaxTime=INFINITE State=UP`,
    '',
  ].join('\n');
}

/** Starts everything and waits until both nodes are idle. @param folder an existing empty folder with a short absolute path */
export async function startSlurm(folder: string): Promise<Slurm> {
  for (const name of ['munge', 'state', ...NODES]) mkdirSync(path.join(folder, name), { mode: 0o700 });
  writeFileSync(path.join(folder, 'munge', 'key'), randomBytes(128), { mode: 0o400 });
  writeFileSync(path.join(folder, 'slurm.conf'), configuration(folder));
  const environment = { ...process.env, SLURM_CONF: path.join(folder, 'slurm.conf') };
  const daemons: { name: string; child: ChildProcess; said: () => string }[] = [];
  const start = (name: string, program: string, ...args: string[]): void => {
    const child = spawn(program, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (said += data.toString()));
    child.on('error', error => (said += error.message));
    daemons.push({ name, child, said: () => said });
  };
  const ask = (program: string, ...args: string[]): string => {
    const { status, stdout, stderr, error } = spawnSync(program, args, { env: environment, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
    return stdout;
  };
  const stop = async (): Promise<void> => {
    for (const { child } of [...daemons].reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      const ended = new Promise(resolve => child.on('close', resolve));
      child.kill('SIGTERM');
      await ended;
    }
  };
  const munge = ['key-file', 'socket', 'pid-file', 'log-file', 'seed-file'].map(
    what => `--${what}=${path.join(folder, 'munge', what.replace('-file', ''))}`,
  );
  start('munged', 'munged', '--force', '--foreground', ...munge);
  start('slurmctld', 'slurmctld', '-D');
  for (const node of NODES) start(node, 'slurmd', '-D', '-N', node);
  try {
    await until('both nodes are idle', 30, () => {
      const dead = daemons.find(({ child }) => child.exitCode !== null);
      if (dead !== undefined) throw new Error(`${dead.name} ended: ${dead.said()}`);
      const { stdout } = spawnSync('sinfo', ['-h', '-N', '-o', '%T'], { env: environment, encoding: 'utf8' });
      return (
        stdout
          .trim()
          .split('\n')
          .filter(state => state === 'idle').length === NODES.length
      );
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { environment, ask, stop };
}

/** Looks until something is so. @throws when it is not after so many seconds. */
export async function until(what: string, seconds: number, isSo: () => boolean): Promise<void> {
  const start = performance.now();
  while (!isSo()) {
    if (performance.now() - start > 1000 * seconds) throw new Error(`Not after ${seconds} s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}
