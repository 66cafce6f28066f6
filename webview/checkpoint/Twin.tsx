/** The same matrix in the other checkpoint: its configuration, errors, weights, and where the two differ. */
import { useMemo, useRef, useState } from 'preact/hooks';
import type { PreviewReport, TensorStatistics } from '../../extension/core/analysis/types';
import type { CheckpointView, ModelHeader, TensorRow, TensorTwin } from '../../extension/protocol/panels';
import { Button, Select } from '../controls';
import { Figure } from '../shared/Figure';
import { formatBits, formatBytes, formatNumber, formatPercent } from '../../extension/core/format';
import { navigate } from '../shared/actions';
import { Histograms } from '../shared/Histograms';
import { isString, useSaved } from '../shared/host';
import { Name } from '../shared/Name';
import { Await, Fact, useRequest } from '../shared/Panel';
import { Raster, type Picture } from '../shared/Raster';
import type { CheckpointHost } from './host';
import { AUTOMATIC } from './OnDemand';
import { cellsOf, PictureView } from './Pictures';

interface Props {
  host: CheckpointHost;
  view: CheckpointView;
  row: TensorRow;
  /** Of this checkpoint's tensor, once they are known. */
  statistics: TensorStatistics | undefined;
}

export function Twin({ host, view, row, statistics }: Props) {
  const [wanted, setWanted] = useState(row.parameters <= AUTOMATIC);
  const [chosen, setChosen] = useSaved('twin', '', isString);
  const twin = view.twins.find(({ path }) => path === chosen) ?? view.twins[0];
  if (!twin) return null;
  return (
    <section class="detail-twin" aria-label="Twin">
      <div class="section-title">
        <h2>{twin.compressed ? 'Compressed twin' : 'Original'}</h2>
        {view.twins.length > 1 && (
          <Select
            label="Which compression"
            value={twin.path}
            choices={view.twins.map(({ path, label }) => ({ value: path, label: label.slice(0, 80) }))}
            onChange={setChosen}
          />
        )}
        <Name
          name={twin.label}
          onClick={() => navigate(host, { to: 'checkpoint', model: twin.path, tensor: row.name })}
        />
      </div>
      {wanted ? (
        <TwinRequest key={twin.path} host={host} view={view} row={row} twin={twin} statistics={statistics} />
      ) : (
        <div class="pending">
          <Button onClick={() => setWanted(true)}>Compare with It</Button>
          <span>Reads {formatBytes(row.bytes)} and its twin once.</span>
        </div>
      )}
    </section>
  );
}

function TwinRequest({ host, view, row, twin, statistics }: Props & { twin: ModelHeader }) {
  const request = useRequest(
    async signal => {
      const cells = { tensor: row.name, ...cellsOf(row.shape) };
      const found = await host.request('twin', { ...cells, model: twin.path }, { signal });
      return found && { found, own: await host.request('preview', cells, { signal }) };
    },
    [row.name],
  );
  return (
    <Await of={request} what="Reading both">
      {both =>
        both ? (
          <TwinView
            host={host}
            twin={both.found}
            statistics={statistics}
            labels={[view.header.label, twin.label]}
            sides={[
              { label: view.header.label, preview: both.own },
              { label: twin.label, preview: both.found.preview },
            ]}
            shape={[row.shape[0] ?? 1, row.shape[1] ?? 1]}
          />
        ) : (
          <p class="muted">The other checkpoint keeps this tensor as it is.</p>
        )
      }
    </Await>
  );
}

function TwinView(props: {
  host: CheckpointHost;
  twin: TensorTwin;
  statistics: TensorStatistics | undefined;
  labels: [string, string];
  sides: { label: string; preview: PreviewReport }[];
  shape: [number, number];
}) {
  const { host, twin, shape } = props;
  const sides = useMemo(() => props.sides, [twin]);
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const { difference } = twin;
  const picture = useMemo<Picture>(
    () => ({
      rows: difference.rows,
      cols: difference.cols,
      values: difference.mean,
      scale: 'diverging',
      limit: difference.mean.reduce<number>((most, value) => Math.max(most, Math.abs(value)), 0),
    }),
    [twin],
  );
  const gain =
    twin.errorQuantized !== undefined && twin.errorLq !== undefined && twin.errorQuantized > 0
      ? 1 - twin.errorLq / twin.errorQuantized
      : undefined;
  return (
    <>
      <dl class="facts">
        {twin.option !== undefined && <Fact label="Option" value={twin.option} wide />}
        {twin.bits !== undefined && <Fact label="Bits" value={formatBits(twin.bits)} />}
        {twin.effectiveBits !== undefined && <Fact label="Effective bits" value={formatBits(twin.effectiveBits)} />}
        <Fact
          label="Relative error, plain"
          value={formatPercent(difference.relativeError)}
          title="Norm of the difference over the norm of this matrix, every weight alike"
        />
        {twin.errorQuantized !== undefined && (
          <Fact
            label="Quantised alone"
            value={formatPercent(twin.errorQuantized)}
            title="Relative error without the low-rank part, weighed as the compression weighed it"
          />
        )}
        {gain !== undefined && <Fact label="Gain of low-rank" value={formatPercent(gain)} />}
        <Fact label="Most apart" title="Largest difference of a weight" value={formatNumber(difference.maxAbsolute)} />
      </dl>
      {props.statistics && (
        <Histograms
          host={host}
          sides={[
            { label: props.labels[0], statistics: props.statistics },
            { label: props.labels[1], statistics: twin.statistics },
          ]}
        />
      )}
      <PictureView host={host} title="Both, on one scale" sides={sides} shape={shape} />
      <Figure
        host={host}
        title="Difference"
        label="Mean difference of a cell, this checkpoint minus the twin"
        canvas={() => canvas.current}
        data={{
          name: `${twin.name}-difference`,
          columns: ['row', 'column', 'mean difference'],
          rows: difference.mean.map((mean, index) => [
            Math.floor(index / difference.cols),
            index % difference.cols,
            mean,
          ]),
        }}
      >
        <Raster
          picture={picture}
          shape={shape}
          label="Difference as a picture"
          canvasRef={element => (canvas.current = element)}
        />
      </Figure>
    </>
  );
}
