/** Layers by role, coloured by a metric: where a model is large, sensitive, or badly served by its compression. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { formatBits, formatNumber, formatShape } from '../../extension/core/format';
import type { HeatmapView, HeatValue, HeatValues, Metric } from '../../extension/protocol/panels';
import { Button, Checkbox, Segments, Select } from '../controls';
import { navigate } from '../shared/actions';
import { Figure } from '../shared/Figure';
import { isBoolean, isString, isStrings, useSaved } from '../shared/host';
import { Name } from '../shared/Name';
import { notifyError } from '../shared/notices';
import { describeProgress } from '../shared/progress';
import { Await, Empty, EngineBanner, Failure, Loading, Strip, useRequest } from '../shared/Panel';
import { Activity } from '../shared/jobs';
import { Ramp } from '../shared/Raster';
import { Heatmap } from './Heatmap';
import { MatrixPane } from './MatrixPane';
import { paintHeatmap } from './paint';
import { describeRank, makeScale, orderOf, type HeatOrder } from './scale';
import { host } from './host';

export function HeatmapPanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading headers">
      {view => <Loaded view={view} onView={load.replace} />}
    </Await>
  );
}

type Side = 'both' | 'original' | 'compressed';
const isSide = (value: unknown): value is Side => value === 'both' || value === 'original' || value === 'compressed';

function Loaded({ view, onView }: { view: HeatmapView; onView: (view: HeatmapView) => void }) {
  const [added, setAdded] = useState<Metric[]>([]);
  const metrics = [...view.metrics, ...added.filter(one => !view.metrics.some(({ id }) => id === one.id))];
  const [saved, setMetric] = useSaved<string>('metric', view.metric, isString);
  const metric = metrics.find(({ id }) => id === saved) ?? metrics.find(({ id }) => id === view.metric) ?? metrics[0];
  const path = view.header.path;

  const [files, setFiles] = useSaved<string[]>('external', [], isStrings);
  const add = (found: Metric) => setAdded(old => [...old.filter(({ id }) => id !== found.id), found]);
  const addExternal = async () => {
    const found = await host.request('external', {});
    if (!found) return;
    add(found.metric);
    setMetric(found.metric.id);
    setFiles([...files.filter(file => file !== found.file), found.file]);
  };
  useEffect(() => {
    // After a reload the host knows nothing of them; one that has gone is not asked for again.
    for (const file of files)
      host.request('external', { file }).then(
        found => found && add(found.metric),
        (error: unknown) => {
          setFiles(files.filter(other => other !== file));
          notifyError(error);
        },
      );
  }, []);

  return (
    <>
      <Strip
        host={host}
        header={view.header}
        command={{ command: metric?.status === 'compute' ? 'stats' : 'inspect', request: { model: path } }}
        menu={[
          {
            label: 'Open Checkpoint',
            icon: 'file',
            onSelect: () => navigate(host, { to: 'checkpoint', model: path }),
          },
          {
            label: 'Allocation',
            icon: 'chart',
            onSelect: () => navigate(host, { to: 'allocation', model: path }),
          },
        ]}
        primary={
          view.compressed || view.header.compressed ? (
            <Button primary onClick={() => navigate(host, { to: 'perplexity', model: path })}>
              Perplexity
            </Button>
          ) : (
            <Button primary onClick={() => navigate(host, { to: 'compress', model: path })}>
              Compress…
            </Button>
          )
        }
      />
      <EngineBanner host={host} />
      <Activity host={host} />
      {view.cells.length === 0 || !metric ? (
        <Empty title="No repeated blocks">
          The heatmap needs matrices in numbered layers, such as model.layers.0.self_attn.q_proj. This checkpoint has
          none.
        </Empty>
      ) : (
        <div class="scroll">
          <div class="heat-controls">
            <Select
              label="Metric"
              value={metric.id}
              choices={metrics.map(one => ({ value: one.id, label: one.label.slice(0, 80) }))}
              onChange={setMetric}
            />
            <Button
              icon="add"
              onClick={() => void addExternal().catch(notifyError)}
              title="Show numbers of your own: a JSON file of tensor or layer names"
            >
              From JSON…
            </Button>
            {view.compressions.length > 0 && (
              <Select
                label="Compression that is shown"
                value={view.compressed?.path ?? ''}
                choices={view.compressions.map(({ path: output, label, effectiveBits, older }) => ({
                  value: output,
                  label: `${label.slice(0, 60)}, ${formatBits(effectiveBits)} bits${older ? ', of older files' : ''}`,
                }))}
                onChange={compressed => void host.request('choose', { compressed }).then(onView, notifyError)}
              />
            )}
            <span class="muted">{metric.about.slice(0, 300)}</span>
          </div>
          <MetricView key={metric.id} view={view} metric={metric} />
        </div>
      )}
    </>
  );
}

function MetricView({ view, metric }: { view: HeatmapView; metric: Metric }) {
  if (typeof metric.status === 'object') {
    const { needs, action } = metric.status;
    return (
      <Empty
        title={`${metric.label.slice(0, 80)} is not known yet`}
        action={
          action && (
            <Button primary onClick={() => navigate(host, action)}>
              {action.to === 'compress' ? 'Compress…' : 'Continue'}
            </Button>
          )
        }
      >
        {needs.slice(0, 400)}
      </Empty>
    );
  }
  return <Values view={view} metric={metric} />;
}

/** Asks for the values and shows pieces as they come. */
function Values({ view, metric }: { view: HeatmapView; metric: Metric }) {
  const [partial, setPartial] = useState<HeatValues>();
  const [done, setDone] = useState('');
  useEffect(() => host.on('values', values => values.metric === metric.id && setPartial(values)), []);
  const request = useRequest(
    signal =>
      host.request(
        'values',
        { metric: metric.id },
        {
          signal,
          onProgress: progress => setDone(describeProgress(progress)),
        },
      ),
    [metric.id, view],
  );
  const { result } = request;
  const values = result.state === 'ready' ? result.value : partial;
  return (
    <>
      {result.state === 'failed' && <Failure error={result.error} onRetry={request.retry} />}
      {values ? (
        <Picture view={view} metric={metric} values={values} />
      ) : (
        result.state === 'loading' && <Loading what="Measuring" />
      )}
      {result.state === 'loading' && done && (
        <p class="muted number" role="status">
          Measuring: {done}
        </p>
      )}
    </>
  );
}

function Picture({ view, metric, values }: { view: HeatmapView; metric: Metric; values: HeatValues }) {
  const sides = [
    ...(values.original
      ? [{ id: 'original' as const, label: view.header.compressed ? 'Other' : 'Original', values: values.original }]
      : []),
    ...(values.compressed
      ? [
          {
            id: 'compressed' as const,
            label: view.compressed?.label.slice(0, 60) ?? 'Compressed',
            values: values.compressed,
          },
        ]
      : []),
  ];
  const [side, setSide] = useSaved<Side>('side', 'both', isSide);
  const [log, setLog] = useSaved<boolean>(`log:${metric.id}`, metric.log, isBoolean);
  const [active, setActive] = useState(0);
  const selected = view.cells[active]?.name;
  useEffect(
    () => void host.request('selected', selected === undefined ? {} : { tensor: selected }).catch(notifyError),
    [selected],
  );
  const scale = useMemo(
    () =>
      makeScale(
        sides.map(one => one.values),
        metric.scale,
        log,
      ),
    [values, metric, log],
  );
  const order = useMemo(() => new Map(sides.map(one => [one.id, orderOf(one.values)])), [values]);
  const shown = sides.length < 2 || side === 'both' ? sides : sides.filter(one => one.id === side);
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const open = (index: number) => {
    const cell = view.cells[index];
    if (cell) navigate(host, { to: 'checkpoint', model: view.header.path, tensor: cell.name });
  };
  const canLog = metric.scale === 'sequential';
  return (
    <Figure
      host={host}
      class="heat"
      title={metric.label.slice(0, 80)}
      label={`Heatmap of ${metric.label}: ${view.rows.length} roles by ${view.layers.length} layers`}
      canvas={() => {
        canvas.current = document.createElement('canvas');
        paintHeatmap(
          canvas.current,
          view,
          shown,
          scale,
          `${view.header.label}: ${metric.label}${metric.unit && ` (${metric.unit})`}`,
        );
        return canvas.current;
      }}
      data={{
        name: `${view.header.label}-${metric.id}`,
        columns: ['tensor', 'role', 'layer', ...sides.map(one => `${metric.label} (${one.id})`)],
        rows: view.cells.map((cell, index) => [
          cell.name,
          view.rows[cell.row],
          view.layers[cell.column],
          ...sides.map(one => one.values[index]),
        ]),
      }}
      tools={
        <div class="heat-tools">
          {sides.length === 2 && (
            <Segments
              label="Sides"
              value={side}
              onChange={setSide}
              choices={[
                { value: 'both', label: 'Both' },
                { value: 'original', label: sides[0]!.label },
                { value: 'compressed', label: 'Compressed' },
              ]}
            />
          )}
          {canLog && (
            <Checkbox
              checked={scale.log}
              disabled={log && !scale.log}
              onChange={setLog}
              title={log && !scale.log ? 'Some values are not positive' : ''}
            >
              Log scale
            </Checkbox>
          )}
        </div>
      }
    >
      <Legend metric={metric} scale={scale} values={shown.map(one => one.values)} />
      <div class="heat-body">
        <div class="heat-grids" style={{ '--rows': String(shown.length * (view.rows.length + 2)) }}>
          {shown.map(one => (
            <Heatmap
              key={one.id}
              title={sides.length > 1 ? one.label : ''}
              label={`${metric.label}, ${one.label}`}
              view={view}
              values={one.values}
              order={order.get(one.id)!}
              scale={scale}
              active={active}
              onActive={setActive}
              onOpen={open}
            />
          ))}
        </div>
        <MatrixPane view={view} active={active} onOpen={open} />
      </div>
      <ActiveCell view={view} metric={metric} active={active} sides={sides} order={order} onOpen={open} />
    </Figure>
  );
}

function Legend(props: {
  metric: Metric;
  scale: ReturnType<typeof makeScale>;
  values: readonly (readonly HeatValue[])[];
}) {
  const has = (wanted: HeatValue) => props.values.some(side => side.includes(wanted));
  return (
    <div class="legend">
      <Ramp scale={props.scale.kind} low={props.scale.low} high={props.scale.high} />
      <span class="muted">
        {[props.metric.unit.slice(0, 60), props.scale.log && 'logarithmic'].filter(Boolean).join(', ')}
      </span>
      {has('nan') && (
        <span class="legend-key">
          <i class="swatch hatched" /> NaN or infinite
        </span>
      )}
      {has(null) && (
        <span class="legend-key">
          <i class="swatch unknown" /> not known
        </span>
      )}
    </div>
  );
}

/** The chosen cell in words, where a tooltip would cover its neighbours; read out as the arrow keys move. */
function ActiveCell(props: {
  view: HeatmapView;
  metric: Metric;
  active: number;
  sides: readonly { id: string; label: string; values: readonly HeatValue[] }[];
  order: ReadonlyMap<string, HeatOrder>;
  onOpen: (index: number) => void;
}) {
  const { view, metric, active, sides } = props;
  const cell = view.cells[active];
  if (!cell) return null;
  return (
    <div class="active-cell">
      <Name name={cell.name} onClick={() => props.onOpen(active)} />
      <span class="muted">{formatShape(cell.shape)}</span>
      {sides.map(one => {
        const value = one.values[active];
        const rank = describeRank(props.order.get(one.id)!, active);
        return (
          <span key={one.id} class="number">
            {sides.length > 1 && <span class="muted">{one.label} </span>}
            <strong>{value === 'nan' ? 'NaN' : formatNumber(value)}</strong>
            {metric.unit && ` ${metric.unit.slice(0, 60)}`}
            {rank !== undefined && <span class="muted"> · {rank}</span>}
          </span>
        );
      })}
    </div>
  );
}
