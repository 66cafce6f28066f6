import { formatBytes, formatDuration } from '../../core/format';
import { exportRequest } from '../../core/requests/requests';
import { define } from '../command';
import { deliveredLines } from '../report';

export const exportCommand = define({
  summary: 'Write a checkpoint in another format: dense or GGUF for stock loaders, packed as it is.',
  request: exportRequest,
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('export', request, { signal, onProgress: terminal.progress });
    terminal.print(
      `${report.files.length} files, ${formatBytes(report.bytes)}, in ${formatDuration(report.seconds)}: ${report.out}`,
    );
    for (const line of deliveredLines(report.delivered)) terminal.print(line);
    return report;
  },
});
