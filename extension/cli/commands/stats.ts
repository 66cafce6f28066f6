import path from 'node:path';
import { list, present, type Command } from '../command';
import { table } from '../terminal';

export const statsCommand: Command = {
  name: 'stats',
  summary: 'Statistics of tensors, streamed: moments, extremes, zeros, NaN and Inf, histogram.',
  arguments: ['MODEL'],
  options: { tensor: { value: 'NAME', multiple: true, description: 'only this tensor (repeatable)' } },
  async run({ positionals, values, settings, engine, terminal, signal }) {
    const statistics = await engine.request(
      'statistics',
      { ...settings, model: path.resolve(positionals[0] as string), ...present({ tensors: list(values, 'tensor') }) },
      { signal, onProgress: terminal.progress },
    );
    const digits = (value: number): string => value.toPrecision(4);
    const rows = statistics.map(s => [
      s.name,
      s.shape.join('x'),
      ...[s.mean, s.stddev, s.min, s.max, s.kurtosis].map(digits),
      String(s.zeros),
      String(s.nans + s.infs),
    ]);
    const header = ['tensor', 'shape', 'mean', 'std', 'min', 'max', 'kurtosis', 'zeros', 'NaN+Inf'];
    for (const line of table(header, rows)) terminal.print(line);
    return { tensors: Object.fromEntries(statistics.map(s => [s.name, s])) };
  },
};
