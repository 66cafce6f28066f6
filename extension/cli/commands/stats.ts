import { statisticsRequest } from '../../core/requests/requests';
import { unreadable } from '../../core/analysis/weights';
import { logicalTensors } from '../../core/logical/logical';
import { openCheckpoint } from '../../core/logical/open';
import { nodeFiles } from '../../node/files';
import { define } from '../command';
import { table } from '../terminal';

export const statsCommand = define({
  summary: 'Statistics of tensors, streamed: moments, extremes, zeros, NaN and Inf, histogram.',
  request: statisticsRequest,
  async run({ request, engine, terminal, signal }) {
    const statistics = await engine.request('statistics', request, { signal, onProgress: terminal.progress });
    const digits = (value: number): string => value.toPrecision(4);
    const measured = new Map(statistics.map(s => [s.name, s]));
    const unmeasured: Record<string, string> = {};
    const rows = (await wantedTensors(request.model, request.tensors)).map(({ name, shape, dtype, reason }) => {
      const s = measured.get(name);
      const finite = s === undefined ? 0 : s.count - s.nans - s.infs;
      const why = s === undefined ? (reason ?? 'not measured') : finite === 0 ? 'no value is finite' : undefined;
      if (s === undefined) unmeasured[name] = why as string;
      return [
        name,
        dtype,
        shape.join('x'),
        ...(s === undefined || finite === 0
          ? Array<string>(5).fill('–')
          : [s.mean, s.stddev, s.min, s.max, s.kurtosis].map(digits)),
        s === undefined ? '–' : String(s.zeros),
        s === undefined ? '–' : String(s.nans + s.infs),
        why ?? '',
      ];
    });
    const header = ['tensor', 'type', 'shape', 'mean', 'std', 'min', 'max', 'kurtosis', 'zeros', 'NaN+Inf', ''];
    for (const line of table(header, rows, [0, 1, 10])) terminal.print(line);
    return { tensors: Object.fromEntries(statistics.map(s => [s.name, s])), unmeasured };
  },
});

/** The weights that were asked for, all by default, each with the reason where its values cannot be read. */
async function wantedTensors(
  model: string,
  names: readonly string[] | undefined,
): Promise<{ name: string; shape: readonly number[]; dtype: string; reason: string | undefined }[]> {
  const logical = logicalTensors(await openCheckpoint(nodeFiles, model));
  const wanted = names === undefined ? undefined : new Set(names);
  return logical
    .filter(({ name }) => wanted?.has(name) ?? true)
    .map(tensor => ({ ...tensor, reason: unreadable(tensor) }));
}
