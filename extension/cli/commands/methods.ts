import { formatBytes, formatDuration } from '../../core/format';
import { methodsRequest } from '../../core/requests/requests';
import { define } from '../command';
import { table } from '../terminal';

export const methodsCommand = define({
  summary: 'Compress with every method at equal exported bits and compare perplexities.',
  request: methodsRequest,
  examples: ['lq-studio methods ./model --bits 3 --calibration calib.txt --eval-text eval.txt'],
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('methods', request, { signal, onProgress: terminal.progress });
    const rows = report.rows.map(row => [
      row.label,
      row.perplexity?.toFixed(3) ?? '–',
      row.effectiveBits?.toFixed(4) ?? '–',
      row.bytes === undefined ? '–' : formatBytes(row.bytes),
      row.seconds === undefined ? '–' : formatDuration(row.seconds),
      row.refused?.message ?? row.source,
    ]);
    for (const line of table(['method', 'perplexity', 'effective bits', 'size', 'time', 'source'], rows, [0, 5]))
      terminal.print(line);
    terminal.print(`perplexity of the original ${report.dense.toFixed(3)}`);
    return report;
  },
});
