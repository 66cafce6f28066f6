import path from 'node:path';
import { LqError } from '../../core/errors';
import type { Command } from '../command';

export const healthCommand: Command = {
  name: 'health',
  summary: 'Scan a checkpoint for faults: headers, missing shards, NaN, Inf, dead rows. Fails when there are errors.',
  arguments: ['MODEL'],
  options: {},
  async run({ positionals, settings, engine, terminal, signal }) {
    const model = path.resolve(positionals[0] as string);
    const findings = await engine.request('health', { ...settings, model }, { signal, onProgress: terminal.progress });
    for (const finding of findings)
      terminal.print(`${finding.severity.padEnd(11)} ${finding.tensor ?? finding.file ?? ''}: ${finding.message}`);
    const errors = findings.filter(finding => finding.severity === 'error');
    const [first] = errors;
    if (first !== undefined && !terminal.json)
      throw new LqError('unhealthy', `${errors.length} ${errors.length === 1 ? 'error' : 'errors'} in ${model}`, {
        file: first.file ?? model,
      });
    if (errors.length > 0) process.exitCode = 1;
    else terminal.print(`${model}: no errors, ${findings.length} remarks`);
    return { model, errors: errors.length, findings };
  },
};
