import { formatDuration } from '../../core/format';
import { evaluateRequest } from '../../core/requests/requests';
import { define } from '../command';
import { divergenceLine } from '../report';

export const evalCommand = define({
  summary: 'Perplexity of a dense or packed checkpoint on a text, over non-overlapping windows.',
  request: evaluateRequest,
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('evaluate', request, { signal, onProgress: terminal.progress });
    terminal.print(
      `perplexity ${report.perplexity.toFixed(4)} over ${report.tokens} tokens, ${report.windows} windows of ` +
        `${report.context}, in ${formatDuration(report.seconds)} on ${report.device} (${report.precision})`,
    );
    if (report.reference !== undefined)
      terminal.print(`original ${report.reference.perplexity.toFixed(4)}, ${divergenceLine(report.reference)}`);
    for (const warning of report.warnings) terminal.note(`warning: ${warning}`);
    return report;
  },
});
