import type { Handlers } from '../../../extension/protocol/channel';
import type { CheckpointRequests, CheckpointView } from '../../../extension/protocol/panels';
import { preview, spectrum, statistics } from '../fixtures';
import { common } from './common';

/** @param emit sends statistics as the host does: as events, before the answer. */
export function checkpointHost(
  view: CheckpointView,
  emit: (values: ReturnType<typeof statistics>[]) => void,
): Handlers<CheckpointRequests> {
  const find = (name: string) => view.rows.find(row => row.name === name)!;
  return {
    ...common,
    load: () => view,
    statistics: ({ tensor }) => {
      emit([statistics(find(tensor))]);
      return { computed: 1 };
    },
    allStatistics: () => ({ job: 'statistics-1' }),
    spectrum: ({ tensor, count }) => spectrum(find(tensor), count ?? 256),
    preview: ({ tensor, rows, cols }) => preview(find(tensor), rows, cols),
    twin: ({ model, tensor, rows, cols }) => {
      const own = preview(find(tensor), rows, cols);
      return {
        model,
        name: tensor,
        option: 'NF3 b1=4 bf16 32x64 r8',
        bits: 3.13,
        effectiveBits: 3.41,
        errorQuantized: 0.123,
        errorLq: 0.097,
        errorStored: 0.0975,
        difference: { rows, cols, mean: own.mean.map(value => value * 0.1), relativeError: 0.0975, maxAbsolute: 0.031 },
        preview: { ...own, mean: own.mean.map(value => value * 0.98) },
        statistics: statistics(find(tensor)),
      };
    },
  };
}
