/** Every evaluation with the recipe of what was evaluated, drawn against effective bits, and a form for one more. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import { baseName, formatInteger, formatNumber } from '../../extension/core/format';
import type { PerplexityRun, PerplexityView } from '../../extension/protocol/panels';
import { Button, Select } from '../controls';
import { navigate } from '../shared/actions';
import { isString, useSaved } from '../shared/host';
import { notify, notifyError } from '../shared/notices';
import { Await, Empty, EngineBanner, Strip, useRequest } from '../shared/Panel';
import { Activity } from '../shared/jobs';
import { Evaluate } from './Evaluate';
import { Recipe } from './Recipe';
import { Runs } from './Runs';
import { RunsFigure } from './RunsFigure';
import { host } from './host';

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
  // The run that was asked for here is shown once it is known.
  const [started, setStarted] = useState('');
  const arrived = view.runs.find(({ id }) => id === started);
  useEffect(() => {
    if (!arrived) return;
    setStarted('');
    setProtocol(protocolOf(arrived));
    setSelected(arrived.id);
    notify(`${arrived.label}: perplexity ${formatNumber(arrived.perplexity)}`);
  }, [arrived]);
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
            onSelect: () => navigate(host, { to: 'allocation', model }),
          },
          {
            label: 'Heatmap',
            icon: 'table',
            onSelect: () => navigate(host, { to: 'heatmap', model }),
          },
        ]}
        primary={
          <Button primary onClick={() => navigate(host, { to: 'compress', model })}>
            Compress…
          </Button>
        }
      />
      <EngineBanner host={host} />
      <Activity host={host} shownHere={job => job.method === 'evaluate'} />
      <div class="scroll">
        <Evaluate host={host} view={view} onStart={setStarted} />
        {view.runs.length === 0 ? (
          <Empty title="Nothing has been evaluated yet">
            Choose a text and evaluate the model as it is. Compressed checkpoints appear beside it, each with its
            recipe.
          </Empty>
        ) : (
          <div class="perplexity-body">
            <div>
              <RunsFigure
                host={host}
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
              <Runs host={host} view={view} runs={runs} selected={selected} onSelect={setSelected} />
            </div>
            <Recipe
              host={host}
              run={run}
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
