/** The matrix of the active cell: what it is, its values and spectrum, and why a compression gave it what it has. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { SpectrumReport, TensorStatistics } from '../../extension/core/analysis/types';
import { formatBits, formatBytes, formatNumber, formatPercent, formatShape } from '../../extension/core/format';
import type { GivenOption, HeatmapView, HeatMatrix } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Button } from '../controls';
import { Figure } from '../shared/Figure';
import { Histograms } from '../shared/Histograms';
import { Name } from '../shared/Name';
import { Await, Fact, useRequest } from '../shared/Panel';
import { host } from './host';

/** How long the cell has to rest before anything is asked for. */
const REST_MS = 200;
/** Up to this many weights, values and spectrum are computed without being asked for. */
const AUTOMATIC = 1.5e6;
const VALUES = 128;

/** The cell that the pointer or the arrow keys came to rest on. */
function useResting<T>(value: T): T {
  const [resting, setResting] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setResting(value), REST_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return resting;
}

export function MatrixPane(props: { view: HeatmapView; active: number; onOpen: (cell: number) => void }) {
  const { view } = props;
  const index = useResting(props.active);
  const cell = view.cells[index];
  if (!cell) return null;
  return (
    <aside class="matrix-pane" aria-label="Selected matrix">
      <h3>
        <Name name={cell.name} onClick={() => props.onOpen(index)} />
      </h3>
      <p class="muted">
        {view.rows[cell.row]}, layer {view.layers[cell.column]}, {formatShape(cell.shape)}
      </p>
      <Matrix
        key={`${cell.name}\n${view.header.version}\n${view.compressed?.path}`}
        name={cell.name}
        shape={cell.shape}
      />
    </aside>
  );
}

function Matrix({ name, shape }: { name: string; shape: readonly number[] }) {
  const known = useRequest(() => host.request('matrix', { tensor: name }), [name]);
  const small = shape.reduce((product, size) => product * size, 1) <= AUTOMATIC;
  return (
    <Await of={known} what="Looking it up">
      {matrix => <Known matrix={matrix} small={small} />}
    </Await>
  );
}

function Known({ matrix, small }: { matrix: HeatMatrix; small: boolean }) {
  const [wanted, setWanted] = useState(small);
  return (
    <>
      {matrix.given && <Given given={matrix.given} />}
      {matrix.statistics ? (
        <Histograms host={host} sides={[{ label: 'Original', statistics: matrix.statistics }]} />
      ) : (
        wanted && <Values tensor={matrix.tensor} />
      )}
      {wanted ? <Spectrum tensor={matrix.tensor} /> : <Button onClick={() => setWanted(true)}>Read Its Values</Button>}
    </>
  );
}

/** The plan's reasons in words: what the matrix takes of the size, and what it leaves of the error. */
function Given({ given }: { given: GivenOption }) {
  const { above, of } = given;
  return (
    <>
      <dl class="facts">
        <Fact label="Stored as" value={given.option.slice(0, 80)} wide />
        <Fact label="Effective bits" value={formatBits(given.effectiveBits)} />
        <Fact label="Size" value={formatBytes(given.bytes)} />
      </dl>
      <p class="muted">
        {above === 0 ? 'No matrix got more bits' : `${above} of ${of} matrices got more bits`}: it takes{' '}
        {formatPercent(given.sizeShare)} of their size and leaves {formatPercent(given.costShare)} of their error,{' '}
        {formatPercent(given.error)} of the matrix as the compression weighed it.{' '}
        {given.costShare > given.sizeShare
          ? 'Errors weigh more here than bytes: it is near the head of those that get more.'
          : 'Bytes weigh more here than errors: others need them more.'}
      </p>
    </>
  );
}

function Values({ tensor }: { tensor: string }) {
  const request = useRequest(signal => host.request('statistics', { tensor }, { signal }), [tensor]);
  return (
    <Await of={request} what="Reading its values">
      {(statistics: TensorStatistics) => <Histograms host={host} sides={[{ label: 'Original', statistics }]} />}
    </Await>
  );
}

function Spectrum({ tensor }: { tensor: string }) {
  const request = useRequest(signal => host.request('spectrum', { tensor, count: VALUES }, { signal }), [tensor]);
  return (
    <Await of={request} what="Computing singular values">
      {spectrum => <SpectrumFigure spectrum={spectrum} />}
    </Await>
  );
}

function SpectrumFigure({ spectrum }: { spectrum: SpectrumReport }) {
  const { values, suggestedRank } = spectrum;
  const spec = useMemo<ChartSpec>(
    () => ({
      series: [
        {
          label: 'Singular value',
          kind: 'line',
          color: 0,
          points: values.map((y, index) => ({ x: index + 1, y })),
        },
      ],
      x: { label: 'Rank', format: value => formatNumber(value), min: 0 },
      y: { label: 'Singular value', format: value => formatNumber(value, 3), min: 0 },
      marks: suggestedRank > 0 ? [{ x: suggestedRank, label: `suggested rank ${suggestedRank}` }] : [],
      describe: (_series, index) => [`Rank ${index + 1}`, `Singular value ${formatNumber(values[index])}`],
    }),
    [spectrum],
  );
  return (
    <Figure
      host={host}
      title="Singular values"
      label={`The largest ${values.length} singular values`}
      spec={spec}
      data={{
        name: `${spectrum.name}-spectrum`,
        columns: ['rank', 'singular value'],
        rows: values.map((value, index) => [index + 1, value]),
      }}
    />
  );
}
