import { formatDuration } from '../../core/format';
import { fisherRequest } from '../../core/requests/requests';
import { define } from '../command';

export const fisherCommand = define({
  summary: 'Compute the diagonal Fisher information of every target matrix on calibration text.',
  request: fisherRequest,
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('fisher', request, { signal, onProgress: terminal.progress });
    terminal.print(
      `Fisher information of ${report.matrices.length} matrices over ${report.samples} x ${report.context} tokens ` +
        `in ${formatDuration(report.seconds)}: ${report.out}`,
    );
    for (const warning of report.warnings) terminal.note(`warning: ${warning}`);
    return report;
  },
});
