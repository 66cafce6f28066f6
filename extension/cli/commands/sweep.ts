import path from 'node:path';
import { formatDuration } from '../../core/format';
import { LqError } from '../../core/errors';
import { integer, list, present, required, SELECTION, text, type Command } from '../command';
import { scaleKind, SCALES } from '../choices';
import { METHOD, parseMethod } from '../method';

export const sweepCommand: Command = {
  name: 'sweep',
  summary: 'Measure the error of every option of every target matrix; the table is what `plan` chooses from.',
  arguments: ['MODEL'],
  options: {
    ...METHOD,
    fisher: { value: 'FILE', description: 'weight the error with this Fisher file' },
    plain: { description: 'do not weight the error' },
    iterations: { value: 'N', description: 'limit of LQ iterations (default: 100)' },
    patience: {
      value: 'N',
      description: 'iterations without a better one that end the loop (default: 4; 1 is the paper’s rule)',
    },
    out: { value: 'FILE', description: 'JSON file to write' },
    ...SCALES,
    ...SELECTION,
  },
  async run({ positionals, values, settings, engine, terminal, signal }) {
    const fisher = text(values, 'fisher');
    if ((fisher === undefined) === (values['plain'] !== true))
      throw new LqError('usage', 'Give either --fisher FILE or --plain.');
    const out = path.resolve(required(values, 'out'));
    const table = await engine.request(
      'sweep',
      {
        ...settings,
        model: path.resolve(positionals[0] as string),
        ...parseMethod(values),
        out,
        ...present({
          fisher: fisher === undefined ? undefined : path.resolve(fisher),
          scales: scaleKind(values),
          iterations: integer(values, 'iterations', 1),
          patience: integer(values, 'patience', 1),
          include: list(values, 'include'),
          exclude: list(values, 'exclude'),
        }),
      },
      { signal, onProgress: terminal.progress },
    );
    terminal.print(
      `${table.matrices.length} matrices x ${table.options.length} options in ${formatDuration(table.seconds)} ` +
        `on ${table.device}: ${out}`,
    );
    return { ...table, out };
  },
};
