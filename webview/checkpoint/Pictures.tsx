/** Down-sampled pictures of a tensor, and how the absmax of its blocks is spread. */
import { useMemo, useRef, useState } from 'preact/hooks';
import { formatBytes, formatCount, formatInteger, formatNumber, formatPercent } from '../../extension/core/format';
import type { PreviewReport } from '../../extension/core/analysis/types';
import type { TensorRow } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Segments } from '../controls';
import { Figure } from '../shared/Figure';
import { Await, useRequest } from '../shared/Panel';
import { Raster, type Picture } from '../shared/Raster';
import type { CheckpointHost } from './host';
import { AUTOMATIC, OnDemand } from './OnDemand';

/** Cells of the picture, and of the blocks' absmax. */
const PICTURE = { rows: 160, cols: 320 };
const BLOCK = 64;
const MAX_BLOCK_CELLS = 16_384;

type Channel = 'mean' | 'absmax';

function toPicture(preview: PreviewReport, channel: Channel): Picture {
  // A NaN in a cell arrives as null.
  const minimum: readonly (number | null)[] = preview.minimum;
  const maximum: readonly (number | null)[] = preview.maximum;
  const absmax = maximum.map((high, index) => {
    const low = minimum[index];
    return high === null || typeof low !== 'number' ? null : Math.max(Math.abs(high), Math.abs(low));
  });
  const values: readonly (number | null)[] = channel === 'absmax' ? absmax : preview.mean;
  const limit = values.reduce<number>((most, value) => Math.max(most, Math.abs(value ?? 0)), 0);
  return {
    rows: preview.rows,
    cols: preview.cols,
    values,
    scale: channel === 'absmax' ? 'sequential' : 'diverging',
    limit,
  };
}

export function Pictures({ host, row }: { host: CheckpointHost; row: TensorRow }) {
  const [wanted, setWanted] = useState(row.parameters <= AUTOMATIC);
  if (!wanted) {
    return (
      <OnDemand
        title="Picture of the weights"
        action="Draw Weights"
        about={`Reads ${formatBytes(row.bytes)} once.`}
        onStart={() => setWanted(true)}
      />
    );
  }
  return <PictureRequest host={host} row={row} />;
}

/** [rows, cols] of the tensor seen as a matrix: leading dimensions become rows. */
const asMatrix = (shape: readonly number[]): [number, number] => {
  const cols = shape.at(-1) ?? 1;
  return [shape.slice(0, -1).reduce((product, size) => product * size, 1), cols];
};

/** How many cells the picture of a tensor has. */
export function cellsOf(shape: readonly number[]): { rows: number; cols: number } {
  const [height, width] = asMatrix(shape);
  return { rows: Math.min(PICTURE.rows, height), cols: Math.min(PICTURE.cols, width) };
}

function PictureRequest({ host, row }: { host: CheckpointHost; row: TensorRow }) {
  const [height, width] = asMatrix(row.shape);
  const picture = useRequest(
    signal => host.request('preview', { tensor: row.name, ...cellsOf(row.shape) }, { signal }),
    [row.name],
  );
  return (
    <>
      <Await of={picture} what="Drawing the weights">
        {preview => <OnePicture host={host} preview={preview} shape={[height, width]} />}
      </Await>
      <Blocks host={host} row={row} shape={[height, width]} />
    </>
  );
}

function OnePicture(props: { host: CheckpointHost; preview: PreviewReport; shape: [number, number] }) {
  const sides = useMemo(() => [{ label: '', preview: props.preview }], [props.preview]);
  return <PictureView host={props.host} title="Picture of the weights" sides={sides} shape={props.shape} />;
}

/** The same matrix in one checkpoint, or in two beside each other on one scale. */
export function PictureView(props: {
  host: CheckpointHost;
  title: string;
  sides: readonly { label: string; preview: PreviewReport }[];
  shape: [number, number];
}) {
  const { sides, shape } = props;
  const first = sides[0]!.preview;
  const [channel, setChannel] = useState<Channel>('mean');
  const canvases = useRef<(HTMLCanvasElement | null)[]>([]);
  const pictures = useMemo(() => {
    const own = sides.map(({ preview }) => toPicture(preview, channel));
    const limit = Math.max(...own.map(picture => picture.limit));
    return own.map(picture => ({ ...picture, limit }));
  }, [sides, channel]);
  const each = `${Math.ceil(shape[0] / first.rows)} × ${Math.ceil(shape[1] / first.cols)}`;
  const of = (label: string) => (sides.length > 1 ? ` (${label})` : '');
  return (
    <Figure
      host={props.host}
      title={props.title}
      label={`${channel} of the weights, ${first.rows} by ${first.cols} cells${sides.length > 1 ? ', both on one scale' : ''}`}
      canvas={() => besideEachOther(canvases.current)}
      data={{
        name: `${first.name}-weights`,
        columns: [
          'row',
          'column',
          ...sides.flatMap(({ label }) => ['minimum', 'maximum', 'mean'].map(c => c + of(label))),
        ],
        rows: first.mean.map((_mean, index) => [
          Math.floor(index / first.cols),
          index % first.cols,
          ...sides.flatMap(({ preview }) => [preview.minimum[index], preview.maximum[index], preview.mean[index]]),
        ]),
      }}
      tools={
        <Segments
          label="Value of a cell"
          value={channel}
          onChange={setChannel}
          choices={[
            { value: 'mean', label: 'Mean' },
            { value: 'absmax', label: 'Absmax' },
          ]}
        />
      }
      note={each === '1 × 1' ? 'Every cell is one weight.' : `A cell is ${each} weights.`}
    >
      <div class="detail-pair">
        {pictures.map((picture, side) => (
          <div key={side}>
            {sides.length > 1 && <h4>{sides[side]!.label.slice(0, 80)}</h4>}
            <Raster
              picture={picture}
              shape={shape}
              label={`${channel} of the weights as a picture${of(sides[side]!.label)}`}
              canvasRef={element => (canvases.current[side] = element)}
            />
          </div>
        ))}
      </div>
    </Figure>
  );
}

/** One picture of several, to save. */
function besideEachOther(canvases: readonly (HTMLCanvasElement | null)[]): HTMLCanvasElement | null {
  const [first, ...others] = canvases.filter(canvas => canvas !== null);
  if (!first || others.length === 0) return first ?? null;
  const gap = 8;
  const all = document.createElement('canvas');
  all.width = others.reduce((width, canvas) => width + gap + canvas.width, first.width);
  all.height = Math.max(...[first, ...others].map(canvas => canvas.height));
  let x = 0;
  for (const canvas of [first, ...others]) {
    all.getContext('2d')?.drawImage(canvas, x, 0);
    x += canvas.width + gap;
  }
  return all;
}

/** How widely the scales of quantisation blocks are spread: the absmax of runs of 64 weights along a row. */
function Blocks({ host, row, shape }: { host: CheckpointHost; row: TensorRow; shape: [number, number] }) {
  const cols = Math.ceil(shape[1] / BLOCK);
  const rows = Math.min(shape[0], Math.max(1, Math.floor(MAX_BLOCK_CELLS / cols)));
  const request = useRequest(
    signal => host.request('preview', { tensor: row.name, rows, cols }, { signal }),
    [row.name],
  );
  return (
    <Await of={request} what="Measuring blocks">
      {preview => <BlocksView host={host} preview={preview} shape={shape} />}
    </Await>
  );
}

const BINS = 40;

function BlocksView({
  host,
  preview,
  shape,
}: {
  host: CheckpointHost;
  preview: PreviewReport;
  shape: [number, number];
}) {
  const { counts, limit, total } = useMemo(() => {
    const picture = toPicture(preview, 'absmax');
    const bins = Array.from({ length: BINS }, () => 0);
    for (const value of picture.values) {
      const bin = Math.min(BINS - 1, Math.floor(((value ?? 0) / (picture.limit || 1)) * BINS));
      bins[bin]! += 1;
    }
    return { counts: bins, limit: picture.limit, total: picture.values.length };
  }, [preview]);
  const edge = (index: number) => (index * limit) / BINS;
  const spec = useMemo<ChartSpec>(
    () => ({
      series: [
        { label: 'Blocks', kind: 'bars', color: 0, points: counts.map((y, index) => ({ x: edge(index + 0.5), y })) },
      ],
      x: { label: 'Absmax of a block', format: value => formatNumber(value, 3), min: 0, max: limit },
      y: { label: 'Blocks', format: value => formatCount(value) },
      describe: (_series, index) => [
        `Absmax ${formatNumber(edge(index))} to ${formatNumber(edge(index + 1))}`,
        `${formatInteger(counts[index])} blocks (${formatPercent((counts[index] ?? 0) / (total || 1))})`,
      ],
    }),
    [counts],
  );
  const height = Math.ceil(shape[0] / preview.rows);
  const width = Math.ceil(shape[1] / preview.cols);
  return (
    <Figure
      host={host}
      title="Absmax of blocks"
      label={`Histogram of the absmax of ${total} blocks`}
      spec={spec}
      data={{
        name: `${preview.name}-blocks`,
        columns: ['from', 'to', 'blocks'],
        rows: counts.map((count, index) => [edge(index), edge(index + 1), count]),
      }}
      note={`Blocks of ${height} × ${width} weights. A wide spread is what small quantisation blocks are for.`}
    />
  );
}
