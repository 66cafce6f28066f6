import { cacheOf, logsOf, memoryGB, shellLine, stepsOf, timeLimit, type ClusterJob, type Step } from './job';

/** A bash script that submits the steps with sbatch, each after the one before. */
export function slurmScript(job: ClusterJob, partition?: string): string {
  const lines = [
    '#!/usr/bin/env bash',
    `# Compression of ${job.compress.model.replaceAll('\n', ' ')} by ${job.workers} workers that share ${cacheOf(job).replaceAll('\n', ' ')}.`,
    '# Read it, change what your cluster wants otherwise, and run it where sbatch is.',
    'set -euo pipefail',
    shellLine(['mkdir', '-p', logsOf(job)]),
    'after=()',
  ];
  for (const step of stepsOf(job)) lines.push('', ...submission(job, step, partition));
  lines.push('', 'echo "Submitted; the last job is ${after[0]#*:}. Logs are in ' + `${logsOf(job)}.` + '"', '');
  return lines.join('\n');
}

function submission(job: ClusterJob, step: Step, partition: string | undefined): string[] {
  const directives = [
    `--job-name=lq-${step.name}`,
    `--output=${logsOf(job)}/${step.name}-%A_%a.log`,
    `--time=${timeLimit(step.seconds)}`,
    `--mem=${memoryGB(job)}G`,
    '--ntasks=1',
    ...(job.gpus > 0 ? [`--gres=gpu:${job.gpus}`] : []),
    ...(partition === undefined ? [] : [`--partition=${partition}`]),
    // A worker that was ended may start again: what it finished stays.
    ...(step.name === 'workers' ? [`--array=0-${step.count - 1}`, '--requeue'] : []),
  ];
  return [
    `job=$(sbatch --parsable "\${after[@]}" ${shellLine(directives)} <<'END_OF_STEP'`,
    '#!/usr/bin/env bash',
    `exec ${shellLine(step.command)}`,
    'END_OF_STEP',
    ')',
    // What a worker that died left is measured when the results are gathered.
    `after=("--dependency=${step.name === 'workers' ? 'afterany' : 'afterok'}:\${job%%;*}")`,
  ];
}
