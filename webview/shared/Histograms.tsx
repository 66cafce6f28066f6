/** The values of one matrix, or of the same in two checkpoints over each other: as densities, since their bins differ. */
import { useMemo } from 'preact/hooks';
import type { TensorStatistics } from '../../extension/core/analysis/types';
import { formatNumber, formatPercent } from '../../extension/core/format';
import type { ChartSpec } from '../charts';
import { Figure } from './Figure';
import type { CommonHost } from './host';
import { Key } from './Key';

export interface HistogramSide {
  label: string;
  statistics: TensorStatistics;
}

/** Bins as [from, to, share of the counted weights]. */
function binsOf({ histogram: { low, high, counts, sampled } }: TensorStatistics): [number, number, number][] {
  const width = (high - low) / (counts.length || 1);
  return counts.map((count, index) => [low + index * width, low + (index + 1) * width, count / (sampled || 1)]);
}

export function Histograms({ host, sides }: { host: CommonHost; sides: readonly HistogramSide[] }) {
  const spec = useMemo<ChartSpec>(() => {
    const bins = sides.map(({ statistics }) => binsOf(statistics));
    const ends = bins.flat();
    return {
      series: bins.map((own, index) => ({
        label: sides[index]!.label,
        kind: 'line',
        color: index,
        dash: index > 0,
        // Steps: the corners of every bin, at its share of a unit of value.
        points: own.flatMap(([from, to, share]) => {
          const density = to > from ? share / (to - from) : 0;
          return [
            { x: from, y: density },
            { x: to, y: density },
          ];
        }),
      })),
      x: {
        label: 'Value',
        format: value => formatNumber(value, 3),
        min: Math.min(...ends.map(([from]) => from)),
        max: Math.max(...ends.map(([, to]) => to)),
      },
      y: { label: 'Density', format: value => formatNumber(value, 3), min: 0 },
      describe: (side, point) => {
        const [from, to, share] = bins[side]?.[Math.floor(point / 2)] ?? [0, 0, 0];
        return [
          sides[side]!.label,
          `${formatNumber(from)} to ${formatNumber(to)}`,
          `${formatPercent(share)} of the weights`,
        ];
      },
    };
  }, [sides[0]?.statistics, sides[1]?.statistics]);
  return (
    <Figure
      host={host}
      title={sides.length > 1 ? 'Both histograms' : 'Histogram'}
      label={`Histogram of the values${sides.length > 1 ? `, ${sides.map(({ label }) => label).join(' and ')}` : ''}`}
      spec={spec}
      data={{
        name: `${sides[0]!.statistics.name}-histograms`,
        columns: ['checkpoint', 'from', 'to', 'share of weights'],
        rows: sides.flatMap(({ label, statistics }) => binsOf(statistics).map(bin => [label, ...bin])),
      }}
      {...(sides.length > 1 && {
        note: (
          <span class="keys">
            {sides.map(({ label }, index) => (
              <Key key={label} shape={index > 0 ? 'dash' : 'line'} color={index}>
                {label.slice(0, 60)}
              </Key>
            ))}
          </span>
        ),
      })}
    />
  );
}
