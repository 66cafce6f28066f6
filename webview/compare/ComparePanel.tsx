/** Two checkpoints: what only one has, what changed shape, then how far the values are apart. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import {
  formatBits,
  formatBytes,
  formatCount,
  formatInteger,
  formatNumber,
  formatPercent,
  formatShape,
} from '../../extension/core/format';
import type { CompareReport } from '../../extension/core/analysis/types';
import type { CompareView, ModelHeader } from '../../extension/protocol/panels';
import { Button, Menu, Tabs } from '../controls';
import { copyCommand, navigate } from '../shared/actions';
import type { Column } from '../shared/columns';
import { rememberTarget, useSaved } from '../shared/host';
import { Name } from '../shared/Name';
import { notifyError } from '../shared/notices';
import { describeProgress } from '../shared/progress';
import { Table } from '../shared/Table';
import { Await, Empty, EngineBanner, Fact, useRequest } from '../shared/Panel';
import { Activity, cancelJob, isActive, Stopped, useJobs } from '../shared/jobs';
import { host } from './host';

export function ComparePanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading headers">
      {view => <Loaded view={view} onView={load.replace} />}
    </Await>
  );
}

function Loaded({ view, onView }: { view: CompareView; onView: (view: CompareView) => void }) {
  const { a, b } = view;
  useEffect(() => rememberTarget({ ...(a && { model: a.path }), ...(b && { other: b.path }) }), [view]);
  const choose = (side: 'a' | 'b', path?: string) =>
    host.request('choose', { side, ...(path !== undefined && { path }) }).then(onView, notifyError);
  const swap = async () => {
    if (!a || !b) return;
    const [pathA, pathB] = [a.path, b.path];
    await choose('a', pathB);
    await choose('b', pathA);
  };
  return (
    <>
      <header class="compare-sides">
        <Side name="A" header={a} onChoose={() => void choose('a')} />
        <Button icon="swap" label="Swap the sides" disabled={!a || !b} onClick={() => void swap()} />
        <Side name="B" header={b} onChoose={() => void choose('b')} />
      </header>
      <EngineBanner host={host} />
      <Activity host={host} shownHere={job => job.method === 'compare'} />
      {a && b ? (
        <Compared key={`${a.version}\n${b.version}`} a={a} b={b} canCompute={view.canCompute} />
      ) : (
        <Empty
          title="Choose two checkpoints"
          action={
            <Button primary onClick={() => void choose(a ? 'b' : 'a')}>
              Choose {a ? 'B' : 'A'}…
            </Button>
          }
        >
          Their structure is compared at once, from the headers. Values are compared when you ask.
        </Empty>
      )}
    </>
  );
}

function Side({ name, header, onChoose }: { name: string; header: ModelHeader | undefined; onChoose: () => void }) {
  return (
    <section class="side" aria-label={`Side ${name}`}>
      <span class="side-letter" aria-hidden="true">
        {name}
      </span>
      <div class="side-model">
        {header ? (
          <>
            <h2>
              <Name name={header.label} onClick={() => navigate(host, { to: 'checkpoint', model: header.path })} />
            </h2>
            <span class="muted" title={header.path.slice(0, 1000)}>
              {formatCount(header.parameters)} parameters · {header.dtype.slice(0, 40)} · {formatBytes(header.bytes)} ·{' '}
              {formatBits(header.bitsPerWeight)} bits
            </span>
          </>
        ) : (
          <span class="muted">Nothing chosen</span>
        )}
      </div>
      <Button onClick={onChoose}>{header ? 'Change…' : 'Choose…'}</Button>
    </section>
  );
}

type Tab = 'shared' | 'onlyA' | 'onlyB' | 'reshaped';
const isTab = (value: unknown): value is Tab =>
  value === 'shared' || value === 'onlyA' || value === 'onlyB' || value === 'reshaped';

function Compared({ a, b, canCompute }: { a: ModelHeader; b: ModelHeader; canCompute: boolean }) {
  const structure = useRequest(signal => host.request('structure', null, { signal }), []);
  return (
    <Await of={structure} what="Comparing headers">
      {report => <Report report={report} a={a} b={b} canCompute={canCompute} />}
    </Await>
  );
}

type Values = ReadonlyMap<string, CompareReport['tensors'][number]>;

function Report({
  report,
  a,
  b,
  canCompute,
}: {
  report: CompareReport;
  a: ModelHeader;
  b: ModelHeader;
  canCompute: boolean;
}) {
  const [tab, setTab] = useSaved<Tab>('tab', 'shared', isTab);
  const [values, setValues] = useState<Values>(new Map());
  const [newest] = useJobs(host).filter(
    job => job.method === 'compare' && job.model === a.path && job.other === b.path,
  );
  const running = newest && isActive(newest) ? newest : undefined;
  const add = (fresh: CompareReport['tensors']) =>
    setValues(old => {
      const next = new Map(old);
      for (const one of fresh) if (one.relativeError !== undefined) next.set(one.name, one);
      return next;
    });
  useEffect(() => host.on('tensors', add), []);
  const tensors = useMemo(() => report.tensors.map(one => values.get(one.name) ?? one), [report, values]);
  const begin = () => void host.request('values', null).catch(notifyError);
  const measured = tensors.filter(one => typeof one.relativeError === 'number');
  const equal = measured.filter(one => one.relativeError === 0).length;
  const worst = measured.reduce<(typeof measured)[number] | undefined>(
    (most, one) => ((one.relativeError ?? 0) > (most?.relativeError ?? 0) ? one : most),
    undefined,
  );
  const same = report.onlyA.length + report.onlyB.length + report.reshaped.length === 0;
  return (
    <>
      <div class="compare-summary">
        <dl class="strip-facts">
          <Fact label="Structure" value={same ? 'the same' : 'different'} />
          <Fact label="In both" value={formatInteger(tensors.length)} />
          <Fact
            label="Values compared"
            value={
              measured.length === 0
                ? 'not yet'
                : `${formatInteger(measured.length)} of ${formatInteger(tensors.length)}`
            }
          />
          {measured.length > 0 && <Fact label="Equal" value={formatInteger(equal)} />}
          {worst && (
            <Fact
              label="Largest relative error"
              value={formatPercent(worst.relativeError)}
              title={worst.name.slice(0, 500)}
            />
          )}
        </dl>
        <div class="strip-actions">
          <Menu
            label="More actions"
            icon="more"
            items={[
              {
                label: 'Copy as Command Line',
                icon: 'terminal',
                onSelect: () =>
                  copyCommand(host, {
                    command: 'compare',
                    request: { a: a.path, b: b.path, ...(measured.length === 0 && { structure: true }) },
                  }),
              },
            ]}
          />
          {running ? (
            <>
              <span class="muted number" role="status">
                {running.progress ? describeProgress(running.progress) : 'Comparing: waiting'}
              </span>
              {!running.elsewhere && <Button onClick={() => void cancelJob(host, running)}>Cancel</Button>}
            </>
          ) : (
            <Button
              primary
              disabled={!canCompute || measured.length >= tensors.length}
              title={canCompute ? 'Reads every weight of both' : 'Trust this workspace to compute'}
              onClick={begin}
            >
              Compare Values
            </Button>
          )}
        </div>
      </div>
      {newest && !running && <Stopped host={host} job={newest} />}
      <Tabs
        label="Kinds of difference"
        value={tab}
        onChange={setTab}
        tabs={[
          { value: 'shared', label: 'In both', count: tensors.length },
          { value: 'onlyA', label: 'Only in A', count: report.onlyA.length },
          { value: 'onlyB', label: 'Only in B', count: report.onlyB.length },
          { value: 'reshaped', label: 'Other shape', count: report.reshaped.length },
        ]}
      />
      {tab === 'shared' && <Shared tensors={tensors} a={a} b={b} />}
      {tab === 'onlyA' && <Names key="A" side="A" names={report.onlyA} model={a} />}
      {tab === 'onlyB' && <Names key="B" side="B" names={report.onlyB} model={b} />}
      {tab === 'reshaped' && <Reshaped rows={report.reshaped} a={a} b={b} />}
    </>
  );
}

function Shared({ tensors, a, b }: { tensors: CompareReport['tensors']; a: ModelHeader; b: ModelHeader }) {
  type Row = CompareReport['tensors'][number];
  const most = useMemo(() => tensors.reduce((high, one) => Math.max(high, one.relativeError ?? 0), 0) || 1, [tensors]);
  const columns = useMemo<Column<Row>[]>(
    () => [
      {
        id: 'name',
        label: 'Tensor',
        width: 'minmax(220px, 1fr)',
        value: row => row.name,
        render: row => <Name name={row.name} />,
      },
      { id: 'shape', label: 'Shape', width: '110px', spare: 3, end: true, value: row => formatShape(row.shape) },
      { id: 'formatA', label: 'In A', width: '110px', spare: 2, value: row => row.formatA },
      { id: 'formatB', label: 'In B', width: '110px', value: row => row.formatB },
      {
        id: 'error',
        label: 'Relative error',
        title: '||A − B|| / ||A||',
        width: '160px',
        end: true,
        value: row => row.relativeError,
        render: row =>
          typeof row.relativeError === 'number' ? (
            <span class="bar-cell">
              <span class="bar">
                <span style={{ width: `${(100 * row.relativeError) / most}%` }} />
              </span>
              {row.relativeError === 0 ? 'equal' : formatPercent(row.relativeError)}
            </span>
          ) : (
            '–'
          ),
      },
      {
        id: 'max',
        label: 'Largest difference',
        width: '118px',
        spare: 1,
        end: true,
        value: row => row.maxAbsolute,
        render: row => formatNumber(row.maxAbsolute),
      },
    ],
    [most],
  );
  return (
    <Table
      host={host}
      what="tensors"
      label="Tensors in both"
      file={`${a.label}-${b.label}`}
      columns={columns}
      rows={tensors}
      rowKey={row => row.name}
      tensorOf={row => row.name}
      text={row => row.name}
      onOpen={row => navigate(host, { to: 'checkpoint', model: a.path, tensor: row.name })}
      empty="The two have no tensor of the same name and shape."
    />
  );
}

function Names({ side, names, model }: { side: 'A' | 'B'; names: readonly string[]; model: ModelHeader }) {
  const columns: Column<string>[] = [
    {
      id: 'name',
      label: 'Tensor',
      width: '1fr',
      value: name => name,
      render: name => (
        <Name name={name} onClick={() => navigate(host, { to: 'checkpoint', model: model.path, tensor: name })} />
      ),
    },
  ];
  return (
    <Table
      host={host}
      what={`tensors only in ${side}`}
      file={`${model.label}-only`}
      columns={columns}
      rows={names}
      rowKey={name => name}
      text={name => name}
      empty="None: the other side has them all."
    />
  );
}

function Reshaped({ rows, a, b }: { rows: CompareReport['reshaped']; a: ModelHeader; b: ModelHeader }) {
  const columns: Column<CompareReport['reshaped'][number]>[] = [
    {
      id: 'name',
      label: 'Tensor',
      width: 'minmax(260px, 1fr)',
      value: row => row.name,
      render: row => <Name name={row.name} />,
    },
    { id: 'a', label: 'In A', width: '180px', value: row => row.a, render: row => row.a.slice(0, 100) },
    { id: 'b', label: 'In B', width: '180px', value: row => row.b, render: row => row.b.slice(0, 100) },
  ];
  return (
    <Table
      host={host}
      what="tensors of another shape"
      file={`${a.label}-${b.label}-shapes`}
      columns={columns}
      rows={rows}
      rowKey={row => row.name}
      text={row => row.name}
      empty="All tensors in both have the same shape."
    />
  );
}
