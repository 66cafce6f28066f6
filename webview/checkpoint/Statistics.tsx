/** The numbers of one tensor and their histogram. */
import { useMemo, useState } from 'preact/hooks';
import { formatBytes, formatCount, formatInteger, formatNumber, formatPercent } from '../../extension/core/format';
import type { TensorStatistics } from '../../extension/core/analysis/types';
import type { TensorRow } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Figure } from '../shared/Figure';
import { Icon } from '../shared/icons';
import { Await, Fact, Loading, useRequest } from '../shared/Panel';
import type { CheckpointHost } from './host';
import { AUTOMATIC, OnDemand } from './OnDemand';

export function Statistics(props: { host: CheckpointHost; row: TensorRow; statistics: TensorStatistics | undefined }) {
  const { host, row, statistics } = props;
  const [wanted, setWanted] = useState(row.parameters <= AUTOMATIC);
  if (statistics) return <StatisticsView host={host} statistics={statistics} />;
  if (wanted) return <ComputeStatistics host={host} tensor={row.name} />;
  return (
    <OnDemand
      title="Statistics"
      action="Compute Statistics"
      about={`Reads ${formatBytes(row.bytes)} once.`}
      onStart={() => setWanted(true)}
    />
  );
}

/** Asks; the values arrive as an event that the panel keeps. */
function ComputeStatistics({ host, tensor }: { host: CheckpointHost; tensor: string }) {
  const request = useRequest(signal => host.request('statistics', { tensor }, { signal }), [tensor]);
  return (
    <Await of={request} what="Reading the weights">
      {() => <Loading what="Reading the weights" />}
    </Await>
  );
}

function StatisticsView({ host, statistics: s }: { host: CheckpointHost; statistics: TensorStatistics }) {
  const { low, high, counts, sampled } = s.histogram;
  const width = (high - low) / (counts.length || 1);
  const spec = useMemo<ChartSpec>(
    () => ({
      series: [
        {
          label: 'Weights',
          kind: 'bars',
          color: 0,
          points: counts.map((count, index) => ({ x: low + (index + 0.5) * width, y: count })),
        },
      ],
      x: { label: 'Value', format: value => formatNumber(value, 3), min: low, max: high },
      y: { label: 'Weights', format: value => formatCount(value) },
      describe: (_series, index) => [
        `${formatNumber(low + index * width)} to ${formatNumber(low + (index + 1) * width)}`,
        `${formatInteger(counts[index])} weights (${formatPercent((counts[index] ?? 0) / (sampled || 1))})`,
      ],
    }),
    [s],
  );
  return (
    <>
      <section aria-label="Statistics">
        <dl class="facts">
          <Fact label="Mean" value={formatNumber(s.mean)} />
          <Fact label="Std deviation" value={formatNumber(s.stddev)} />
          <Fact label="Absmax" value={formatNumber(s.absmax)} />
          <Fact label="Minimum" value={formatNumber(s.min)} />
          <Fact label="Maximum" value={formatNumber(s.max)} />
          <Fact
            label="Kurtosis"
            value={formatNumber(s.kurtosis)}
            title="3 for a Gaussian; larger means heavier tails"
          />
          <Fact label="Zeros" value={formatInteger(s.zeros)} />
          <Fact
            label="NaN, Inf"
            value={
              s.nans + s.infs > 0 ? (
                <span class="bad">
                  <Icon name="warning" /> {formatInteger(s.nans)}, {formatInteger(s.infs)}
                </span>
              ) : (
                'none'
              )
            }
            {...(s.nans + s.infs > 0 && { title: `First at flat index ${s.firstNan >= 0 ? s.firstNan : s.firstInf}` })}
          />
          <Fact
            label="Zero rows, cols"
            value={`${formatInteger(s.rowNorms.zero)}, ${formatInteger(s.colNorms.zero)}`}
          />
          <Fact label="Row norms" value={`${formatNumber(s.rowNorms.min, 3)} … ${formatNumber(s.rowNorms.max, 3)}`} />
          <Fact
            label="Column norms"
            value={`${formatNumber(s.colNorms.min, 3)} … ${formatNumber(s.colNorms.max, 3)}`}
          />
        </dl>
      </section>
      <Figure
        host={host}
        title="Histogram"
        label={`Histogram of ${counts.length} bins from ${formatNumber(low)} to ${formatNumber(high)}`}
        data={{
          name: `${s.name}-histogram`,
          columns: ['from', 'to', 'weights'],
          rows: counts.map((count, index) => [low + index * width, low + (index + 1) * width, count]),
        }}
        spec={spec}
        {...(sampled < s.count && { note: `${formatCount(sampled)} of ${formatCount(s.count)} weights were counted.` })}
      />
    </>
  );
}
