/** The custom editor: the checkpoint's strip, its tensors, files and metadata, and the selected tensor beside them. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import { checkpointContract } from '../../extension/protocol/panelGuards';
import type { CheckpointView, TensorRow } from '../../extension/protocol/panels';
import type { TensorStatistics } from '../../extension/protocol/engine';
import { Button, Tabs, TextField } from '../controls';
import { csvFile, jsonFile } from '../shared/exportData';
import { save } from '../shared/Figure';
import { filterRows } from '../shared/filter';
import { formatBits, formatBytes, formatCount, formatNumber, formatShape } from '../../extension/core/format';
import { gridData, isSort, sortRows, type Column, type Sort } from '../shared/columns';
import { Grid } from '../shared/Grid';
import { connectHost, isNumber, isString, useSaved } from '../shared/host';
import { Icon } from '../shared/icons';
import { Name } from '../shared/Name';
import { notify, notifyError } from '../shared/notices';
import { Await, EngineBanner, Strip, useRequest } from '../shared/Panel';
import { Splitter } from '../shared/Splitter';
import { Overview } from './Overview';
import { TensorDetail } from './TensorDetail';

const host = connectHost(checkpointContract);
export type CheckpointHost = typeof host;
export type StatisticsByName = ReadonlyMap<string, TensorStatistics>;

type Tab = 'tensors' | 'files' | 'metadata' | 'problems';
const isTab = (value: unknown): value is Tab =>
  value === 'tensors' || value === 'files' || value === 'metadata' || value === 'problems';

export function CheckpointPanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading headers">
      {view => <Loaded view={view} />}
    </Await>
  );
}

function Loaded({ view }: { view: CheckpointView }) {
  const [tab, setTab] = useSaved<Tab>(
    'tab',
    view.problems.length > 0 && view.rows.length === 0 ? 'problems' : 'tensors',
    isTab,
  );
  const [savedSelection, setSelected] = useSaved<string>('selected', '', isString);
  const [width, setWidth] = useSaved('detailWidth', 42, isNumber);
  const [statistics, setStatistics] = useState<StatisticsByName>(() => new Map(view.statistics.map(s => [s.name, s])));
  const [scan, setScan] = useState<{ abort: AbortController; done: number; total: number }>();

  useEffect(() => {
    if (view.select !== undefined) setSelected(view.select);
    const stops = [
      host.on('select', ({ tensor }) => {
        setTab('tensors');
        setSelected(tensor);
      }),
      host.on('statistics', fresh =>
        setStatistics(old => {
          const next = new Map(old);
          for (const one of fresh) next.set(one.name, one);
          return next;
        }),
      ),
    ];
    return () => stops.forEach(stop => stop());
  }, []);

  const selected = useMemo(() => view.rows.find(row => row.name === savedSelection), [view, savedSelection]);
  const scanAll = () => {
    const abort = new AbortController();
    setScan({ abort, done: 0, total: view.rows.length });
    host
      .request(
        'statistics',
        {},
        {
          signal: abort.signal,
          onProgress: ({ done, total }) => setScan({ abort, done, total }),
        },
      )
      .then(({ computed }) => notify(`Statistics of ${computed.toLocaleString('en-US')} tensors are known`))
      .catch(notifyError)
      .finally(() => setScan(undefined));
  };

  const model = view.header.path;
  const navigate = (to: 'compress' | 'heatmap' | 'compare' | 'perplexity' | 'allocation' | 'health') => () =>
    void host.request('navigate', { to, model }).catch(notifyError);
  return (
    <>
      <Strip
        host={host}
        header={view.header}
        command={{ command: 'inspect', model }}
        menu={[
          { label: 'Heatmap', icon: 'table', onSelect: navigate('heatmap') },
          { label: 'Allocation', icon: 'chart', onSelect: navigate('allocation') },
          { label: 'Perplexity', icon: 'chart', onSelect: navigate('perplexity') },
          { label: 'Compare with…', icon: 'swap', onSelect: navigate('compare') },
          { label: 'Check Health', icon: 'warning', onSelect: navigate('health') },
        ]}
        primary={
          view.header.compressed ? (
            <Button primary onClick={navigate('heatmap')}>
              Show Heatmap
            </Button>
          ) : (
            <Button primary onClick={navigate('compress')}>
              Compress…
            </Button>
          )
        }
      />
      <EngineBanner on={host.on} />
      <Tabs
        label="Parts of the checkpoint"
        value={tab}
        onChange={setTab}
        tabs={[
          { value: 'tensors', label: 'Tensors', count: view.rows.length },
          { value: 'files', label: 'Files', count: view.files.length },
          { value: 'metadata', label: 'Metadata', count: view.metadata.length },
          { value: 'problems', label: 'Problems', count: view.problems.length },
        ]}
      />
      {tab === 'tensors' && (
        <Splitter
          share={width}
          onShare={setWidth}
          label="Width of the tensor's details"
          first={
            <Tensors
              view={view}
              statistics={statistics}
              selected={selected?.name}
              onSelect={row => setSelected(row.name)}
              scan={scan}
              onScan={scanAll}
            />
          }
          second={
            selected ? (
              <TensorDetail
                key={selected.name}
                host={host}
                view={view}
                row={selected}
                statistics={statistics.get(selected.name)}
              />
            ) : (
              <Overview host={host} view={view} />
            )
          }
        />
      )}
      {tab === 'files' && <Files view={view} />}
      {tab === 'metadata' && <Metadata view={view} />}
      {tab === 'problems' && <Problems view={view} onSelect={name => (setTab('tensors'), setSelected(name))} />}
    </>
  );
}

function Tensors(props: {
  view: CheckpointView;
  statistics: StatisticsByName;
  selected: string | undefined;
  onSelect: (row: TensorRow) => void;
  scan: { abort: AbortController; done: number; total: number } | undefined;
  onScan: () => void;
}) {
  const { view, statistics, scan } = props;
  const [query, setQuery] = useSaved('query', '', isString);
  const [sort, setSort] = useSaved<Sort | null>(
    'sort',
    null,
    (value): value is Sort | null => value === null || isSort(value),
  );

  const columns = useMemo<Column<TensorRow>[]>(() => {
    const known = (pick: (s: TensorStatistics) => number) => (row: TensorRow) => {
      const found = statistics.get(row.name);
      return found ? pick(found) : null;
    };
    return [
      {
        id: 'name',
        label: 'Name',
        width: 'minmax(250px, 1fr)',
        value: row => row.name,
        render: row => <Name name={row.name} />,
      },
      {
        id: 'role',
        label: 'Role',
        width: '62px',
        value: row => row.role,
        render: row => <span class="muted">{row.role}</span>,
      },
      {
        id: 'shape',
        label: 'Shape',
        width: '96px',
        end: true,
        value: row => row.parameters,
        render: row => formatShape(row.shape),
      },
      { id: 'dtype', label: 'Type', width: '56px', value: row => row.dtype },
      {
        id: 'parameters',
        label: 'Parameters',
        width: '72px',
        end: true,
        value: row => row.parameters,
        render: row => formatCount(row.parameters),
      },
      {
        id: 'bytes',
        label: 'Size',
        width: '62px',
        end: true,
        value: row => row.bytes,
        render: row => formatBytes(row.bytes),
      },
      {
        id: 'bits',
        label: 'Bits',
        title: 'Stored bits per weight',
        width: '40px',
        end: true,
        value: row => row.bitsPerWeight,
        render: row => formatBits(row.bitsPerWeight),
      },
      ...(statistics.size > 0
        ? [
            {
              id: 'absmax',
              label: 'Absmax',
              width: '68px',
              end: true,
              value: known(s => s.absmax),
              render: (row: TensorRow) => formatNumber(known(s => s.absmax)(row), 3),
            },
            {
              id: 'stddev',
              label: 'Std dev',
              width: '68px',
              end: true,
              value: known(s => s.stddev),
              render: (row: TensorRow) => formatNumber(known(s => s.stddev)(row), 3),
            },
            {
              id: 'bad',
              label: 'NaN, Inf',
              width: '60px',
              end: true,
              value: known(s => s.nans + s.infs),
              render: (row: TensorRow) => {
                const bad = known(s => s.nans + s.infs)(row);
                return bad ? (
                  <span class="bad">
                    <Icon name="warning" /> {bad}
                  </span>
                ) : (
                  formatNumber(bad)
                );
              },
            },
          ]
        : []),
    ];
  }, [statistics]);
  const matching = useMemo(() => filterRows(view.rows, row => row.name, query), [view, query]);
  const rows = useMemo(() => sortRows(matching, columns, sort ?? undefined), [matching, sort, sort ? columns : null]);

  return (
    <div class="pane">
      <div class="toolbar">
        <TextField
          class="filter"
          label="Filter tensors"
          placeholder="Filter by name"
          icon="search"
          value={query}
          onInput={setQuery}
        />
        <span class="muted number" role="status">
          {rows.length === view.rows.length
            ? ''
            : `${rows.length.toLocaleString('en-US')} of ${view.rows.length.toLocaleString('en-US')}`}
        </span>
        <div class="push toolbar-end">
          {scan ? (
            <>
              <span class="muted number" role="status">
                {scan.done.toLocaleString('en-US')} of {scan.total.toLocaleString('en-US')}
              </span>
              <Button onClick={() => scan.abort.abort()}>Cancel</Button>
            </>
          ) : (
            <Button
              disabled={!view.canCompute || statistics.size >= view.rows.length}
              title={view.canCompute ? 'Read every weight once' : 'Trust this workspace to compute'}
              onClick={props.onScan}
            >
              Compute Statistics
            </Button>
          )}
          <Button
            icon="table"
            label="Save the table as CSV"
            onClick={() => save(host, csvFile(gridData(`${view.header.label}-tensors`, columns, rows)))}
          />
          <Button
            icon="file"
            label="Save the table as JSON"
            onClick={() => save(host, jsonFile(gridData(`${view.header.label}-tensors`, columns, rows)))}
          />
        </div>
      </div>
      <Grid
        label="Tensors"
        columns={columns}
        rows={rows}
        rowKey={row => row.name}
        sort={sort ?? undefined}
        onSort={setSort}
        selected={props.selected}
        onSelect={props.onSelect}
        empty={query ? 'No name matches. Clear the filter to see all tensors.' : 'This file holds no tensors.'}
      />
    </div>
  );
}

function Files({ view }: { view: CheckpointView }) {
  const columns: Column<CheckpointView['files'][number]>[] = [
    {
      id: 'name',
      label: 'File',
      width: 'minmax(260px, 1fr)',
      value: file => file.name,
      render: file => (
        <Name name={file.name} onClick={() => void host.request('openPath', { path: file.path }).catch(notifyError)} />
      ),
    },
    { id: 'tensors', label: 'Tensors', width: '80px', end: true, value: file => file.tensors },
    {
      id: 'bytes',
      label: 'Size',
      width: '90px',
      end: true,
      value: file => file.bytes,
      render: file => (file.missing ? '–' : formatBytes(file.bytes)),
    },
    {
      id: 'state',
      label: 'State',
      width: '120px',
      value: file => (file.missing ? 'missing' : 'read'),
      render: file =>
        file.missing ? (
          <span class="bad">
            <Icon name="error" /> missing
          </span>
        ) : (
          <span class="muted">read</span>
        ),
    },
  ];
  return <Grid label="Files" columns={columns} rows={view.files} rowKey={file => file.path} />;
}

function Metadata({ view }: { view: CheckpointView }) {
  type Entry = CheckpointView['metadata'][number];
  const columns: Column<Entry>[] = [
    { id: 'key', label: 'Key', width: '200px', value: entry => entry.key, render: entry => <Name name={entry.key} /> },
    {
      id: 'value',
      label: 'Value',
      width: 'minmax(300px, 1fr)',
      value: entry => entry.value,
      render: entry => <Name name={entry.value} />,
    },
    {
      id: 'file',
      label: 'File',
      width: '260px',
      value: entry => entry.file,
      render: entry => <Name name={entry.file} />,
    },
  ];
  return (
    <Grid
      label="Metadata"
      columns={columns}
      rows={view.metadata}
      rowKey={entry => `${entry.file}\n${entry.key}`}
      empty="The files carry no metadata."
    />
  );
}

function Problems({ view, onSelect }: { view: CheckpointView; onSelect: (tensor: string) => void }) {
  if (view.problems.length === 0) return <p class="grid-empty">No problems were found in the headers.</p>;
  return (
    <ul class="problems scroll">
      {view.problems.map((problem, index) => (
        <li key={index}>
          <Icon name={problem.severity === 'error' ? 'error' : 'warning'} class={problem.severity} />
          <span class="sr-only">{problem.severity}: </span>
          <span>
            {problem.message.slice(0, 1000)} <span class="muted">{problem.code.slice(0, 80)}</span>
          </span>
          {problem.tensor !== undefined && <Name name={problem.tensor} onClick={() => onSelect(problem.tensor!)} />}
        </li>
      ))}
    </ul>
  );
}
