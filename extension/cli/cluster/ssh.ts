import { cacheOf, logsOf, quoted, shellLine, stepsOf, type ClusterJob } from './job';

/** A bash script that runs the steps on hosts reached by ssh: one worker a host, the other steps on the first. */
export function sshScript(job: ClusterJob, hosts: readonly string[]): string {
  const logs = logsOf(job);
  const lines = [
    '#!/usr/bin/env bash',
    `# Compression of ${job.compress.model.replaceAll('\n', ' ')} on ${hosts.length} hosts that share ${cacheOf(job).replaceAll('\n', ' ')}.`,
    'set -euo pipefail',
    shellLine(['mkdir', '-p', logs]),
  ];
  for (const step of stepsOf(job)) {
    if (step.count === 1 && step.name !== 'workers') {
      lines.push(
        '',
        `ssh ${quoted(hosts[0]!)} ${quoted(shellLine(step.command))} 2>&1 | tee ${quoted(`${logs}/${step.name}.log`)}`,
      );
      continue;
    }
    lines.push('');
    for (const [i, host] of hosts.entries()) {
      const command = step.command.map(word => (word === 'auto' ? `${i + 1}/${hosts.length}` : word));
      lines.push(
        `ssh ${quoted(host)} ${quoted(shellLine(command))} >${quoted(`${logs}/${step.name}-${i + 1}.log`)} 2>&1 &`,
      );
    }
    lines.push('# What a host that failed left is measured when the results are gathered.', 'wait');
  }
  return `${lines.join('\n')}\n`;
}
