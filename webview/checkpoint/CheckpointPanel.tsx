/** The custom editor: the checkpoint's strip, its tensors, files and metadata, and the selected tensor beside them. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { TensorStatistics } from '../../extension/core/analysis/types';
import type { CheckpointView } from '../../extension/protocol/panels';
import { Button, Tabs } from '../controls';
import { copyCommand, navigate } from '../shared/actions';
import { isNumber, isString, useSaved } from '../shared/host';
import { notify, notifyError } from '../shared/notices';
import { Await, EngineBanner, Strip, useRequest } from '../shared/Panel';
import { Activity, isActive, useJobs } from '../shared/jobs';
import { Splitter } from '../shared/Splitter';
import { Files, Metadata, Problems } from './Headers';
import { Overview } from './Overview';
import { TensorDetail } from './TensorDetail';
import { Tensors } from './Tensors';
import { host, type StatisticsByName } from './host';

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
  const [width, setWidth] = useSaved('detailWidth', 38, isNumber);
  const { version } = view.header;
  const [fresh, setFresh] = useState<{ version: string; found: readonly TensorStatistics[] }>({ version, found: [] });
  // Other files have other values: what was found in the old ones is not shown beside them.
  const statistics = useMemo<StatisticsByName>(() => {
    const found = fresh.version === version ? fresh.found : [];
    return new Map([...view.statistics, ...found].map(one => [one.name, one]));
  }, [view, fresh]);
  const scan = useJobs(host).find(job => job.method === 'statistics' && isActive(job));

  useEffect(() => {
    if (view.select !== undefined) setSelected(view.select);
    const stops = [
      host.on('select', ({ tensor }) => {
        setTab('tensors');
        setSelected(tensor);
      }),
      host.on('statistics', found =>
        setFresh(old => ({ version, found: [...(old.version === version ? old.found : []), ...found] })),
      ),
    ];
    return () => stops.forEach(stop => stop());
  }, [version]);

  const selected = useMemo(() => view.rows.find(row => row.name === savedSelection), [view, savedSelection]);
  useEffect(
    () => void host.request('selected', selected ? { tensor: selected.name } : {}).catch(notifyError),
    [selected?.name],
  );
  const scanAll = () =>
    void host
      .request('allStatistics', null)
      .then(({ job }) => job === undefined && notify('Statistics of all tensors are known'), notifyError);

  // A shard is looked at by itself; what is done is done to the whole.
  const { part } = view.header;
  const model = part?.path ?? view.header.path;
  const go = (to: 'compress' | 'heatmap' | 'compare' | 'perplexity' | 'allocation' | 'health') => () =>
    navigate(host, { to, model });
  return (
    <>
      <Strip
        host={host}
        header={view.header}
        command={{ command: 'inspect', request: { model } }}
        menu={[
          { label: 'Heatmap', icon: 'table', onSelect: go('heatmap') },
          { label: 'Allocation', icon: 'chart', onSelect: go('allocation') },
          { label: 'Perplexity', icon: 'chart', onSelect: go('perplexity') },
          { label: 'Compare with…', icon: 'swap', onSelect: go('compare') },
          { label: 'Check Health', icon: 'warning', onSelect: go('health') },
          {
            label: 'Copy Statistics as Command Line',
            icon: 'terminal',
            onSelect: () => copyCommand(host, { command: 'stats', request: { model } }),
          },
        ]}
        primary={
          view.header.compressed ? (
            <Button primary onClick={go('heatmap')}>
              Show Heatmap
            </Button>
          ) : (
            <Button primary onClick={go('compress')}>
              Compress…
            </Button>
          )
        }
      />
      {part && (
        <p class="part" role="note">
          File {part.number} of {part.count} of <strong>{part.label.slice(0, 200)}</strong>: the actions above are for
          all of it.{' '}
          <button
            type="button"
            class="link blue"
            onClick={() => navigate(host, { to: 'checkpoint', model: part.path })}
          >
            Open the whole
          </button>
        </p>
      )}
      <EngineBanner host={host} />
      <Activity host={host} shownHere={job => job.id === scan?.id} />
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
              host={host}
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
                key={`${selected.name}\n${view.header.version}`}
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
      {tab === 'files' && <Files host={host} view={view} />}
      {tab === 'metadata' && <Metadata host={host} view={view} />}
      {tab === 'problems' && <Problems view={view} onSelect={name => (setTab('tensors'), setSelected(name))} />}
    </>
  );
}
