import { LqError } from '../../core/errors';
import { formatDuration } from '../../core/format';
import { sweepRequest } from '../../core/requests/requests';
import { define } from '../command';

export const sweepCommand = define({
  summary: 'Measure the error of every option of every target matrix; the table is what `plan` chooses from.',
  request: sweepRequest,
  async run({ request, engine, terminal, signal }) {
    const { out } = request;
    if (out === undefined) throw new LqError('usage', '--out is required; see --help.');
    const table = await engine.request('sweep', request, { signal, onProgress: terminal.progress });
    terminal.print(
      `${table.matrices.length} matrices x ${table.options.length} options in ${formatDuration(table.seconds)} ` +
        `on ${table.device}: ${out}`,
    );
    return { ...table, out };
  },
});
