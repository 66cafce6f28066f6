import { inspectReport } from '../../core/analysis/inspect';
import { openCheckpoint } from '../../core/logical/open';
import { formatBytes, formatCount } from '../../core/format';
import { nodeFiles } from '../../node/files';
import { inspectRequest } from '../../core/requests/requests';
import { define } from '../command';
import { table } from '../terminal';

export const inspectCommand = define({
  summary: 'List the tensors of a checkpoint from its headers: no weight is read. Fails when there are errors.',
  request: inspectRequest,
  async run({ request, terminal }) {
    const index = await openCheckpoint(nodeFiles, request.model);
    const report = inspectReport(index);
    const rows = report.layers.map(layer => [
      layer.name,
      layer.dtype,
      layer.shape.join('x'),
      formatBytes(layer.bytes),
      layer.bitsPerWeight.toFixed(3),
    ]);
    for (const line of table(['weight', 'stored as', 'shape', 'size', 'bits/weight'], rows, [0, 1]))
      terminal.print(line);
    terminal.print();
    terminal.print(
      `${formatCount(report.parameters)} parameters, ${formatBytes(report.bytes)}, ` +
        `${report.bitsPerWeight.toFixed(3)} bits per weight in ${index.shards.length} files`,
    );
    for (const problem of index.problems) terminal.print(`${problem.severity}: ${problem.message}`);
    if (index.problems.some(problem => problem.severity === 'error')) process.exitCode = 1;
    return report;
  },
});
