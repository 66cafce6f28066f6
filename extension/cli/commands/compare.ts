import { compareRequest } from '../../core/requests/requests';
import { shortened } from '../../core/text';
import { define } from '../command';
import { table } from '../terminal';

export const compareCommand = define({
  summary: 'Compare two checkpoints: structure, then the values of tensors both have.',
  request: compareRequest,
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('compare', request, { signal, onProgress: terminal.progress });
    for (const name of report.onlyA) terminal.print(`only in A: ${shortened(name, 120)}`);
    for (const name of report.onlyB) terminal.print(`only in B: ${shortened(name, 120)}`);
    for (const tensor of report.reshaped)
      terminal.print(`shape differs: ${shortened(tensor.name, 120)} ${tensor.a} -> ${tensor.b}`);
    const rows = report.tensors.map(tensor => [
      tensor.name,
      tensor.shape.join('x'),
      tensor.formatA,
      tensor.formatB,
      tensor.relativeError?.toPrecision(4) ?? tensor.reason ?? '',
    ]);
    for (const line of table(['tensor', 'shape', 'A', 'B', 'relative error'], rows, [0, 1, 2, 3])) terminal.print(line);
    return report;
  },
});
