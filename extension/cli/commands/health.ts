import { LqError } from '../../core/errors';
import { healthRequest } from '../../core/requests/requests';
import { shortened } from '../../core/text';
import { define } from '../command';

export const healthCommand = define({
  summary: 'Scan a checkpoint for faults: headers, missing shards, NaN, Inf, dead rows. Fails when there are errors.',
  request: healthRequest,
  async run({ request, engine, terminal, signal }) {
    const { model } = request;
    const findings = await engine.request('health', request, { signal, onProgress: terminal.progress });
    for (const finding of findings)
      terminal.print(
        `${finding.severity.padEnd(11)} ${shortened(finding.tensor ?? finding.file ?? '', 100)}: ${finding.message}`,
      );
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
});
