import { formatDuration } from '../../core/format';
import { calibrateRequest } from '../../core/requests/requests';
import { define } from '../command';

export const calibrateCommand = define({
  summary:
    'Compute what calibration text says of every target matrix: Fisher information by rows, second moments of inputs.',
  request: calibrateRequest,
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('calibrate', request, { signal, onProgress: terminal.progress });
    terminal.print(
      `Statistics of ${report.matrices.length} matrices over ${report.samples} x ${report.context} tokens ` +
        `in ${formatDuration(report.seconds)}: ${report.out}`,
    );
    if (report.imatrix !== undefined) terminal.print(`importance matrix: ${report.imatrix}`);
    for (const warning of report.warnings) terminal.note(`warning: ${warning}`);
    return report;
  },
});
