/** Every evaluation with the recipe of what was evaluated, drawn against effective bits, and a form for one more. */
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import {
  baseName,
  formatBits,
  formatBytes,
  formatDate,
  formatDuration,
  formatInteger,
  formatNumber,
  formatPercent,
} from '../../extension/core/format';
import type { EvaluateRequest, Progress } from '../../extension/protocol/engine';
import { perplexityContract } from '../../extension/protocol/panelGuards';
import type { PerplexityRun, PerplexityView } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Button, Menu, Select, TextField } from '../controls';
import { csvFile, jsonFile } from '../shared/exportData';
import { Figure, save } from '../shared/Figure';
import { gridData, isSort, sortRows, type Column, type Sort } from '../shared/columns';
import { Grid } from '../shared/Grid';
import { connectHost, isString, useSaved } from '../shared/host';
import { Name } from '../shared/Name';
import { notify, notifyError } from '../shared/notices';
import { Await, copyCommand, Empty, EngineBanner, Fact, Strip, useRequest } from '../shared/Panel';
import { ProgressBar } from '../shared/ProgressBar';

const host = connectHost(perplexityContract);

export function PerplexityPanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading runs">
      {view => <Loaded view={view} onView={load.replace} />}
    </Await>
  );
}

/** Runs are comparable on one text, context and window count only. */
const protocolOf = (run: PerplexityRun): string => `${run.text}\n${run.context}\n${run.windows}\n${run.bos}`;
const nameProtocol = (run: PerplexityRun): string =>
  `${baseName(run.text)}, ${formatInteger(run.windows)} windows of ${formatInteger(run.context)}${run.bos ? ', with BOS' : ''}`;

function Loaded({ view, onView }: { view: PerplexityView; onView: (view: PerplexityView) => void }) {
  const [selected, setSelected] = useSaved('selected', '', isString);
  const [protocol, setProtocol] = useSaved('protocol', '', isString);
  const protocols = useMemo(() => {
    const found = new Map<string, PerplexityRun>();
    for (const run of view.runs) if (!found.has(protocolOf(run))) found.set(protocolOf(run), run);
    return [...found].map(([value, run]) => ({ value, label: nameProtocol(run).slice(0, 120) }));
  }, [view]);
  const shown = protocols.some(({ value }) => value === protocol) ? protocol : (protocols[0]?.value ?? '');
  const runs = useMemo(() => view.runs.filter(run => protocolOf(run) === shown), [view, shown]);
  const run = runs.find(({ id }) => id === selected);
  const model = view.header.path;

  return (
    <>
      <Strip
        host={host}
        header={view.header}
        {...(run && { command: evaluateCommand(run) })}
        menu={[
          {
            label: 'Allocation',
            icon: 'chart',
            onSelect: () => void host.request('navigate', { to: 'allocation', model }).catch(notifyError),
          },
          {
            label: 'Heatmap',
            icon: 'table',
            onSelect: () => void host.request('navigate', { to: 'heatmap', model }).catch(notifyError),
          },
        ]}
        primary={
          <Button primary onClick={() => void host.request('navigate', { to: 'compress', model }).catch(notifyError)}>
            Compress…
          </Button>
        }
      />
      <EngineBanner on={host.on} />
      <div class="scroll">
        <Evaluate
          view={view}
          onRun={added => {
            onView({ ...view, runs: [...view.runs.filter(({ id }) => id !== added.id), added] });
            setProtocol(protocolOf(added));
            setSelected(added.id);
          }}
        />
        {view.runs.length === 0 ? (
          <Empty title="Nothing has been evaluated yet">
            Choose a text and evaluate the model as it is. Compressed checkpoints appear beside it, each with its
            recipe.
          </Empty>
        ) : (
          <div class="perplexity-body">
            <div>
              <Chart
                view={view}
                runs={runs}
                selected={selected}
                onSelect={setSelected}
                tools={
                  <Select
                    label="Text and windows"
                    value={shown}
                    choices={protocols}
                    onChange={setProtocol}
                    class="protocol"
                  />
                }
              />
              <Runs view={view} runs={runs} selected={selected} onSelect={setSelected} />
            </div>
            <Recipe
              run={run}
              runs={runs}
              onForget={id => {
                host
                  .request('forget', { id })
                  .then(() => onView({ ...view, runs: view.runs.filter(other => other.id !== id) }))
                  .catch(notifyError);
              }}
            />
          </div>
        )}
      </div>
    </>
  );
}

const evaluateCommand = (run: PerplexityRun) => ({
  command: 'evaluate' as const,
  request: { model: run.model, text: run.text, context: run.context, windows: run.windows, bos: run.bos },
});

function Evaluate({ view, onRun }: { view: PerplexityView; onRun: (run: PerplexityRun) => void }) {
  const [model, setModel] = useState(view.models[0]?.path ?? view.header.path);
  const [text, setText] = useSaved('text', view.text ?? '', isString);
  const [context, setContext] = useSaved('context', String(view.context), isString);
  const [windows, setWindows] = useSaved('windows', '', isString);
  const [running, setRunning] = useState<{ abort: AbortController; progress?: Progress }>();
  const whole = (value: string) => /^[1-9]\d*$/.test(value);
  const request: EvaluateRequest = {
    model,
    text,
    context: Number(context),
    ...(windows !== '' && { windows: Number(windows) }),
  };
  const valid = text !== '' && whole(context) && (windows === '' || whole(windows));
  const begin = () => {
    if (!valid) return;
    const abort = new AbortController();
    setRunning({ abort });
    host
      .request('evaluate', request, { signal: abort.signal, onProgress: progress => setRunning({ abort, progress }) })
      .then(run => {
        onRun(run);
        notify(`${run.label}: perplexity ${formatNumber(run.perplexity)}`);
      }, notifyError)
      .finally(() => setRunning(undefined));
  };
  const pick = () =>
    void host
      .request('pick', { what: 'evaluation', ...(text && { current: text }) })
      .then(({ path }) => path !== undefined && setText(path), notifyError);
  return (
    <section class="evaluate" aria-label="Evaluate">
      <label class="field grow">
        <span>Checkpoint</span>
        <Select
          label="Checkpoint"
          value={model}
          choices={view.models.map(({ path, label }) => ({ value: path, label: label.slice(0, 100) }))}
          onChange={setModel}
        />
      </label>
      <label class="field grow">
        <span>Text</span>
        <span class="with-button">
          <TextField
            label="Text to evaluate on"
            placeholder="A plain text file"
            value={text}
            title={text}
            onInput={setText}
            onCommit={begin}
          />
          <Button onClick={pick}>Browse…</Button>
        </span>
      </label>
      <label class="field">
        <span>Context</span>
        <TextField label="Context in tokens" numeric value={context} invalid={!whole(context)} onInput={setContext} />
      </label>
      <label class="field">
        <span>Windows</span>
        <TextField
          label="Windows, all when empty"
          numeric
          placeholder="all"
          value={windows}
          invalid={windows !== '' && !whole(windows)}
          onInput={setWindows}
        />
      </label>
      {running ? (
        <div class="field evaluating">
          <span class="muted number" role="status">
            {running.progress
              ? `${formatInteger(running.progress.done)} of ${formatInteger(running.progress.total)}${running.progress.secondsLeft === undefined ? '' : `, ${formatDuration(running.progress.secondsLeft)} left`}`
              : 'Starting'}
          </span>
          <span class="with-button">
            <ProgressBar label="Evaluating" done={running.progress?.done ?? 0} total={running.progress?.total ?? 0} />
            <Button onClick={() => running.abort.abort()}>Cancel</Button>
          </span>
        </div>
      ) : (
        <div class="evaluate-actions">
          <Button
            disabled={!valid || !view.canCompute}
            title={view.canCompute ? '' : 'Trust this workspace to compute'}
            onClick={begin}
          >
            Evaluate
          </Button>
          <Menu
            label="More about this evaluation"
            icon="more"
            items={[
              {
                label: 'Copy as Command Line',
                icon: 'terminal',
                disabled: !valid,
                onSelect: () => copyCommand(host, { command: 'evaluate', request }),
              },
            ]}
          />
        </div>
      )}
    </section>
  );
}

/** How groups of runs are told apart, by shape as well as colour. */
const GROUPS = [
  { color: 0, shape: 'circle', sign: '●' },
  { color: 2, shape: 'triangle', sign: '▲' },
  { color: 3, shape: 'rect', sign: '■' },
] as const;

/** Compressed runs by how errors were weighted, which matters most beside the bits. */
function weightingsOf(runs: readonly PerplexityRun[]): [string, PerplexityRun[]][] {
  const groups = new Map<string, PerplexityRun[]>();
  for (const run of runs) {
    const weighting = run.recipe.find(({ key }) => key === 'weighting')?.value ?? 'compressed';
    groups.set(weighting, [...(groups.get(weighting) ?? []), run]);
  }
  return [...groups];
}

function Chart(props: {
  view: PerplexityView;
  runs: readonly PerplexityRun[];
  selected: string;
  onSelect: (id: string) => void;
  tools: ComponentChildren;
}) {
  const { runs, selected } = props;
  const spec = useMemo<ChartSpec>(() => {
    const dense = runs.find(run => run.dense);
    const others = runs.filter(run => !run.dense);
    const bits = others.map(run => run.effectiveBits);
    const low = Math.min(...bits, 2.2);
    const high = Math.max(...bits, 4.5);
    const chosen = runs.find(run => run.id === selected && !run.dense);
    const lines = (run: PerplexityRun) => [
      run.label,
      `perplexity ${formatNumber(run.perplexity)}`,
      `${formatBits(run.effectiveBits)} effective bits, ${formatBytes(run.bytes)}`,
    ];
    const series = [
      ...(dense
        ? [
            {
              label: 'Dense model',
              kind: 'line' as const,
              color: 1,
              dash: true,
              points: [
                { x: low - 0.1, y: dense.perplexity },
                { x: high + 0.1, y: dense.perplexity },
              ],
              lines: () => lines(dense),
              ids: [dense.id, dense.id],
            },
          ]
        : []),
      ...(chosen
        ? [
            {
              label: 'Selected',
              kind: 'points' as const,
              color: 1,
              radius: 9,
              shape: 'rectRot' as const,
              points: [{ x: chosen.effectiveBits, y: chosen.perplexity }],
              lines: () => lines(chosen),
              ids: [chosen.id],
            },
          ]
        : []),
      ...weightingsOf(others).map(([weighting, group], index) => ({
        label: weighting,
        kind: 'points' as const,
        color: GROUPS[index % GROUPS.length]!.color,
        shape: GROUPS[index % GROUPS.length]!.shape,
        radius: 5,
        points: group.map(run => ({ x: run.effectiveBits, y: run.perplexity })),
        lines: (at: number) => lines(group[at]!),
        ids: group.map(run => run.id),
      })),
    ];
    const spread = Math.max(...runs.map(run => run.perplexity)) / Math.min(...runs.map(run => run.perplexity));
    return {
      series,
      x: { label: 'Effective bits per weight', format: value => formatNumber(value), min: low - 0.1, max: high + 0.1 },
      y: { label: 'Perplexity', format: value => formatNumber(value), log: spread > 3 },
      describe: (index, point) => series[index]?.lines(point) ?? [],
      onPick: (index, point) => {
        const id = series[index]?.ids[point];
        if (id !== undefined) props.onSelect(id);
      },
    };
  }, [runs, selected]);
  return (
    <Figure
      host={host}
      class="tall"
      title="Perplexity against effective bits"
      label={`Perplexity of ${runs.length} runs against effective bits per weight`}
      spec={spec}
      tools={props.tools}
      data={{
        name: `${props.view.header.label}-perplexity`,
        columns: ['run', 'effective bits', 'perplexity', 'bytes', 'tokens'],
        rows: runs.map(run => [run.label, run.effectiveBits, run.perplexity, run.bytes, run.tokens]),
      }}
      note={
        <span class="keys">
          {weightingsOf(runs.filter(run => !run.dense)).map(([weighting], index) => (
            <span key={weighting}>
              {GROUPS[index % GROUPS.length]!.sign} {weighting.slice(0, 60)}
            </span>
          ))}
          <span>◇ selected</span>
          <span>┄ dense model</span>
        </span>
      }
    />
  );
}

function Runs(props: {
  view: PerplexityView;
  runs: readonly PerplexityRun[];
  selected: string;
  onSelect: (id: string) => void;
}) {
  const [sort, setSort] = useSaved<Sort>('runSort', { column: 'bits', descending: false }, isSort);
  const dense = props.runs.find(run => run.dense)?.perplexity;
  const columns = useMemo<Column<PerplexityRun>[]>(
    () => [
      {
        id: 'label',
        label: 'Run',
        width: 'minmax(180px, 1fr)',
        value: run => run.label,
        render: run => <Name name={run.label} />,
      },
      {
        id: 'bits',
        label: 'Effective bits',
        width: '88px',
        end: true,
        value: run => run.effectiveBits,
        render: run => formatBits(run.effectiveBits),
      },
      {
        id: 'bytes',
        label: 'Size',
        width: '70px',
        end: true,
        value: run => run.bytes,
        render: run => formatBytes(run.bytes),
      },
      {
        id: 'perplexity',
        label: 'Perplexity',
        width: '76px',
        end: true,
        value: run => run.perplexity,
        render: run => formatNumber(run.perplexity),
      },
      {
        id: 'change',
        label: 'To dense',
        width: '70px',
        end: true,
        value: run => (dense === undefined ? null : run.perplexity / dense - 1),
        render: run =>
          dense === undefined || run.dense ? '–' : `+${formatPercent(run.perplexity / dense - 1)}`.replace('+−', '−'),
      },
      { id: 'date', label: 'Date', width: '172px', value: run => run.date, render: run => formatDate(run.date) },
    ],
    [dense],
  );
  const rows = useMemo(() => sortRows(props.runs, columns, sort), [props.runs, columns, sort]);
  const name = `${props.view.header.label}-runs`;
  return (
    <section class="runs" aria-label="Runs">
      <div class="toolbar flush">
        <h3>Runs</h3>
        <div class="push toolbar-end">
          <Button
            icon="table"
            label="Save the runs as CSV"
            onClick={() => save(host, csvFile(gridData(name, columns, rows)))}
          />
          <Button
            icon="file"
            label="Save the runs as JSON"
            onClick={() => save(host, jsonFile(gridData(name, columns, rows)))}
          />
        </div>
      </div>
      <Grid
        label="Runs"
        columns={columns}
        rows={rows}
        rowKey={run => run.id}
        sort={sort}
        onSort={setSort}
        selected={props.selected}
        onSelect={run => props.onSelect(run.id)}
        onOpen={run => void host.request('navigate', { to: 'checkpoint', model: run.model }).catch(notifyError)}
        fitRows={12}
      />
    </section>
  );
}

function Recipe(props: {
  run: PerplexityRun | undefined;
  runs: readonly PerplexityRun[];
  onForget: (id: string) => void;
}) {
  const { run } = props;
  if (!run) return <p class="muted recipe">Select a run for its recipe.</p>;
  return (
    <section class="recipe" aria-label="Recipe">
      <h2>{run.label.slice(0, 200)}</h2>
      <dl class="facts">
        <Fact label="Perplexity" value={formatNumber(run.perplexity)} />
        <Fact label="Bits" value={formatBits(run.bits)} />
        <Fact label="Effective bits" value={formatBits(run.effectiveBits)} />
        <Fact label="Size" value={formatBytes(run.bytes)} />
        <Fact label="Tokens" value={formatInteger(run.tokens)} />
        <Fact label="Took" value={formatDuration(run.seconds)} title={run.device.slice(0, 100)} />
      </dl>
      <p>
        <Name
          name={run.model}
          onClick={() => void host.request('navigate', { to: 'checkpoint', model: run.model }).catch(notifyError)}
        />
        <br />
        <span class="muted">on </span>
        <Name name={run.text} onClick={() => void host.request('openPath', { path: run.text }).catch(notifyError)} />
      </p>
      {run.recipe.length > 0 && (
        <table class="recipe-table">
          <tbody>
            {run.recipe.map(({ key, value }) => (
              <tr key={key}>
                <th scope="row">{key.slice(0, 100)}</th>
                <td>
                  <Name name={value} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <div class="recipe-actions">
        {run.request && (
          <Button onClick={() => copyCommand(host, { command: 'compress', request: run.request! })}>
            Copy Recipe as Command
          </Button>
        )}
        <Button onClick={() => props.onForget(run.id)} title="The run is forgotten; no file is touched">
          Forget Run
        </Button>
      </div>
    </section>
  );
}
