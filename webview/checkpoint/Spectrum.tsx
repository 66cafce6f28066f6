/** The singular values of one matrix, the energy they keep, and the rank worth trying. */
import { useMemo, useState } from 'preact/hooks';
import { formatInteger, formatNumber, formatPercent } from '../../extension/core/format';
import type { SpectrumReport } from '../../extension/core/analysis/types';
import type { TensorRow } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Segments, TextField } from '../controls';
import { Figure } from '../shared/Figure';
import { Await, useRequest } from '../shared/Panel';
import type { CheckpointHost } from './host';
import { OnDemand } from './OnDemand';

/** Singular values cost more than one pass over the weights, so only small matrices get theirs unasked. */
const AUTOMATIC_SPECTRUM = 1.5e6;

export function Spectrum({ host, row }: { host: CheckpointHost; row: TensorRow }) {
  const [wanted, setWanted] = useState(row.parameters <= AUTOMATIC_SPECTRUM);
  if (!wanted) {
    return (
      <OnDemand
        title="Singular values"
        action="Compute Spectrum"
        about={`The largest 256 of ${formatInteger(Math.min(...row.shape))}.`}
        onStart={() => setWanted(true)}
      />
    );
  }
  return <SpectrumRequest host={host} tensor={row.name} />;
}

function SpectrumRequest({ host, tensor }: { host: CheckpointHost; tensor: string }) {
  const request = useRequest(signal => host.request('spectrum', { tensor, count: 256 }, { signal }), [tensor]);
  return (
    <Await of={request} what="Computing singular values">
      {spectrum => <SpectrumView host={host} spectrum={spectrum} />}
    </Await>
  );
}

function SpectrumView({ host, spectrum }: { host: CheckpointHost; spectrum: SpectrumReport }) {
  const { values, energy, suggestedRank } = spectrum;
  const [show, setShow] = useState<'values' | 'energy'>('values');
  const kept = useMemo(() => {
    let sum = 0;
    return values.map(value => (sum += value * value) / (energy || 1));
  }, [spectrum]);
  const [typed, setTyped] = useState(String(suggestedRank > 0 ? suggestedRank : Math.min(16, values.length)));
  const rank = Number(typed);
  const chosen = kept[rank - 1];
  const spec = useMemo<ChartSpec>(() => {
    const points = show === 'values' ? values : kept;
    return {
      series: [
        {
          label: show === 'values' ? 'Singular value' : 'Energy kept',
          kind: 'line',
          color: 0,
          points: points.map((y, index) => ({ x: index + 1, y })),
        },
      ],
      x: { label: 'Rank', format: value => formatNumber(value), min: 0 },
      y:
        show === 'values'
          ? { label: 'Singular value', format: value => formatNumber(value, 3), min: 0 }
          : { label: 'Energy kept', format: formatPercent, min: 0, max: 1 },
      marks: [
        ...(suggestedRank > 0 ? [{ x: suggestedRank, label: `suggested rank ${suggestedRank}` }] : []),
        ...(chosen === undefined || rank === suggestedRank ? [] : [{ x: rank, label: `rank ${rank}` }]),
      ],
      describe: (_series, index) => [
        `Rank ${index + 1}`,
        `Singular value ${formatNumber(values[index])}`,
        `Energy kept ${formatPercent(kept[index])}`,
      ],
    };
  }, [spectrum, show, rank]);
  const keptAt = kept[suggestedRank - 1];
  return (
    <Figure
      host={host}
      title="Singular values"
      label={`Singular spectrum, ${values.length} values, ${suggestedRank > 0 ? `suggested rank ${suggestedRank}` : 'no knee'}`}
      data={{
        name: `${spectrum.name}-spectrum`,
        columns: ['rank', 'singular value', 'energy kept'],
        rows: values.map((value, index) => [index + 1, value, kept[index]]),
      }}
      spec={spec}
      tools={
        <Segments
          label="What to draw"
          value={show}
          onChange={setShow}
          choices={[
            { value: 'values', label: 'Values' },
            { value: 'energy', label: 'Energy' },
          ]}
        />
      }
      note={
        <>
          <span class="energy-at">
            Rank
            <TextField
              label="Rank to keep"
              numeric
              value={typed}
              invalid={chosen === undefined}
              title={`A whole number, 1 to ${values.length}`}
              onInput={setTyped}
            />
            <span role="status">keeps {formatPercent(chosen)} of the energy.</span>
          </span>
          {suggestedRank > 0
            ? `Suggested rank ${suggestedRank} keeps ${formatPercent(keptAt)} of the energy.`
            : 'The spectrum has no knee: no rank stands out.'}{' '}
          {spectrum.rankFor
            .filter(({ rank }) => rank > 0)
            .map(({ share, rank }) => `${formatPercent(share)} needs rank ${rank}`)
            .join(', ')}
        </>
      }
    />
  );
}
