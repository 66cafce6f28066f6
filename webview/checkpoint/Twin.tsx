/** The same matrix in the other checkpoint: its configuration, errors, weights, and where the two differ. */
import { useMemo, useRef } from 'preact/hooks';
import type { ModelHeader, TensorRow, TensorTwin } from '../../extension/protocol/panels';
import { Figure } from '../shared/Figure';
import { formatBits, formatConfig, formatNumber, formatPercent } from '../../extension/core/format';
import { navigate } from '../shared/actions';
import { Name } from '../shared/Name';
import { Await, Fact, useRequest } from '../shared/Panel';
import { Raster, type Picture } from '../shared/Raster';
import type { CheckpointHost } from './CheckpointPanel';
import { PictureView } from './Pictures';

export function Twin(props: { host: CheckpointHost; row: TensorRow; twin: ModelHeader }) {
  const { host, row, twin } = props;
  const request = useRequest(
    signal => host.request('twin', { tensor: row.name, rows: 160, cols: 320 }, { signal }),
    [row.name],
  );
  return (
    <section class="detail-twin" aria-label="Twin">
      <div class="section-title">
        <h2>{twin.compressed ? 'Compressed twin' : 'Original'}</h2>
        <Name
          name={twin.label}
          onClick={() => navigate(host, { to: 'checkpoint', model: twin.path, tensor: row.name })}
        />
      </div>
      <Await of={request} what="Reading both">
        {found =>
          found ? (
            <TwinView host={host} twin={found} shape={[row.shape[0] ?? 1, row.shape[1] ?? 1]} />
          ) : (
            <p class="muted">The other checkpoint keeps this tensor as it is.</p>
          )
        }
      </Await>
    </section>
  );
}

function TwinView({ host, twin, shape }: { host: CheckpointHost; twin: TensorTwin; shape: [number, number] }) {
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
        {twin.config && (
          <Fact label="Configuration" value={formatConfig(twin.config)} title="(b0, b1, b2, B0, B1) as in the paper" />
        )}
        {twin.rank !== undefined && <Fact label="Rank" value={twin.rank} />}
        {twin.bits !== undefined && <Fact label="Bits" value={formatBits(twin.bits)} />}
        {twin.effectiveBits !== undefined && <Fact label="Effective bits" value={formatBits(twin.effectiveBits)} />}
        <Fact label="Relative error" value={formatPercent(difference.relativeError)} />
        {twin.errorQuantized !== undefined && (
          <Fact
            label="Quantised alone"
            value={formatPercent(twin.errorQuantized)}
            title="Relative error without the low-rank part"
          />
        )}
        {gain !== undefined && <Fact label="Gain of low-rank" value={formatPercent(gain)} />}
        <Fact label="Largest difference" value={formatNumber(difference.maxAbsolute)} />
      </dl>
      <PictureView host={host} preview={twin.preview} shape={shape} title="Picture of the twin" />
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
