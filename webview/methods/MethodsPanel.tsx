/** Every method on this checkpoint at equal exported bits: what is asked for, and what came of it. */
import { useEffect } from 'preact/hooks';
import { baseName, formatBits, formatDate, formatNumber } from '../../extension/core/format';
import type { MethodsView } from '../../extension/protocol/panels';
import { Button, Select } from '../controls';
import { navigate } from '../shared/actions';
import { isString, useSaved } from '../shared/host';
import { Activity } from '../shared/jobs';
import { Await, Empty, EngineBanner, Strip, useRequest } from '../shared/Panel';
import { host } from './host';
import { MethodsForm } from './MethodsForm';
import { MethodsTable } from './MethodsTable';

export function MethodsPanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading comparisons">
      {view => <Loaded view={view} />}
    </Await>
  );
}

type Comparison = MethodsView['comparisons'][number];

const nameOf = ({ report, request, date }: Comparison): string =>
  `${formatBits(report.effectiveBits)} bits, ${baseName(request.evalText).slice(0, 60)}, ${formatDate(date)}`;

function Loaded({ view }: { view: MethodsView }) {
  const [chosen, setChosen] = useSaved('comparison', '', isString);
  const shown = view.comparisons.find(({ job }) => job === chosen) ?? view.comparisons[0];
  const model = view.header.path;
  return (
    <>
      <Strip
        host={host}
        header={view.header}
        {...(shown && { command: { command: 'methods' as const, request: shown.request } })}
        menu={[
          { label: 'Perplexity', icon: 'chart', onSelect: () => navigate(host, { to: 'perplexity', model }) },
          { label: 'Allocation', icon: 'chart', onSelect: () => navigate(host, { to: 'allocation', model }) },
        ]}
        primary={
          <Button primary onClick={() => navigate(host, { to: 'compress', model })}>
            Compress…
          </Button>
        }
      />
      <EngineBanner host={host} />
      <Activity host={host} shownHere={job => job.method === 'methods'} />
      <div class="scroll">
        <MethodsForm host={host} view={view} onStart={setChosen} />
        {shown === undefined ? (
          <Empty title="Nothing has been compared yet">
            Every method compresses this checkpoint to the same exported bits, is evaluated on the text, and is removed
            again. Statistics and costs are kept for the next time.
          </Empty>
        ) : (
          <>
            {view.comparisons.length > 1 && (
              <Select
                label="Comparison"
                value={shown.job}
                choices={view.comparisons.map(each => ({ value: each.job, label: nameOf(each) }))}
                onChange={setChosen}
              />
            )}
            <MethodsTable host={host} label={view.header.label} comparison={shown} />
            <p class="figure-note">
              The original has perplexity {formatNumber(shown.report.dense)} on {baseName(shown.request.evalText)}.
              Effective bits count everything stored for the matrices.
            </p>
          </>
        )}
      </div>
    </>
  );
}
