import { LqError } from '../../core/errors';
import { formatCoverage, formatDuration } from '../../core/format';
import { sweepCommandRequest } from '../../core/requests/requests';
import { define } from '../command';
import { runShard } from '../shard';

export const sweepCommand = define({
  summary: 'Measure the error of every option of every target matrix; the table is what `plan` chooses from.',
  request: sweepCommandRequest,
  async run({ request: { shard, ...request }, engine, terminal, signal }) {
    const { out, ...fields } = request;
    if (shard !== undefined) {
      if (out !== undefined) throw new LqError('usage', 'A worker writes no table: leave --out or --shard.');
      const { costs, ...shared } = fields;
      if (costs === 'predicted') throw new LqError('usage', 'A worker measures: leave --costs or --shard.');
      return runShard({ engine, terminal, signal }, 'sweepShard', { ...shared, shard });
    }
    if (out === undefined) throw new LqError('usage', '--out is required; see --help.');
    const table = await engine.request('sweep', request, { signal, onProgress: terminal.progress });
    terminal.print(
      `${table.matrices.length} matrices x ${table.options.length} options in ${formatDuration(table.seconds)} ` +
        `on ${table.device}: ${out}`,
    );
    if (table.coverage !== undefined) terminal.print(`covers ${formatCoverage(table.coverage)}`);
    return { ...table, out };
  },
});
