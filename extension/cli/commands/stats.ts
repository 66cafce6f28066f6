import { statisticsRequest } from '../../core/requests/requests';
import { define } from '../command';
import { table } from '../terminal';

export const statsCommand = define({
  summary: 'Statistics of tensors, streamed: moments, extremes, zeros, NaN and Inf, histogram.',
  request: statisticsRequest,
  async run({ request, engine, terminal, signal }) {
    const statistics = await engine.request('statistics', request, { signal, onProgress: terminal.progress });
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
});
