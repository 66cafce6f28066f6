/** What if: the predicted error at round budgets for every rank that was measured, and one more rank to measure. */
import { useState } from 'preact/hooks';
import { formatBits, formatBytes, formatPercent } from '../../extension/core/format';
import type { SweepRequest } from '../../extension/core/requests/requests';
import type { AllocationView, PlanSummary, WhatIf } from '../../extension/protocol/panels';
import { Button, TextField } from '../controls';
import { copyCommand } from '../shared/actions';
import { Figure } from '../shared/Figure';
import { JobBar, Stopped } from '../shared/jobs';
import type { AllocationHost, Sweep } from './host';
import { readRank, useSweep } from './useSweep';

export function WhatIfFigure(props: {
  host: AllocationHost;
  view: AllocationView;
  sweep: Sweep;
  whatIf: WhatIf;
  /** A cell was clicked: that plan, from that table. */
  onPick: (file: string, plan: PlanSummary) => void;
}) {
  const { view, sweep, whatIf } = props;
  return (
    <Figure
      host={props.host}
      title="What if"
      label="Predicted error by method, rank and effective bits"
      data={{
        name: `${view.header.label}-what-if`,
        columns: ['method', 'rank', 'effective bits', 'bytes', 'relative error'],
        rows: whatIf.rows.flatMap(({ label, rank, plans }) =>
          plans.map((plan, index) => [label, rank, whatIf.effectiveBits[index], plan?.bytes, plan?.relativeError]),
        ),
      }}
      tools={<AnotherRank host={props.host} view={view} sweep={sweep} />}
      note="Predicted error at equal effective bits, with the size below it. Choose a cell to go on from that plan."
    >
      <div class="what-if-scroll">
        <table class="what-if">
          <thead>
            <tr>
              <th scope="col">Options</th>
              {whatIf.effectiveBits.map(bits => (
                <th key={bits} scope="col">
                  {formatBits(bits)} bits
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {whatIf.rows.map(({ label, file, plans }) => (
              <tr key={file} class={file === sweep.file ? 'shown' : ''}>
                <th scope="row">{file === sweep.file ? `${label}, shown` : label}</th>
                {plans.map((plan, index) => (
                  <td key={index}>
                    {plan ? (
                      <button
                        type="button"
                        title={`${formatBits(plan.bits)} bits without factors`}
                        aria-label={`${label} at ${formatBits(whatIf.effectiveBits[index])} bits: ${formatPercent(plan.relativeError)} ${formatBytes(plan.bytes)}`}
                        onClick={() => props.onPick(file, plan)}
                      >
                        {formatPercent(plan.relativeError)} <small>{formatBytes(plan.bytes)}</small>
                      </button>
                    ) : (
                      <span class="none">–</span>
                    )}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Figure>
  );
}

/** The paper's costs are measured at one rank; another needs a sweep of its own, under the same weighting. */
function AnotherRank(props: { host: AllocationHost; view: AllocationView; sweep: Sweep }) {
  const { host, view, sweep } = props;
  const [typed, setTyped] = useState(String(Math.max(1, 2 * sweep.rank)));
  const { rank, problem } = readRank(typed);
  const { running, stopped, begin } = useSweep(host);
  const request: SweepRequest = {
    model: view.header.path,
    method: 'lq-lora',
    ranks: [rank],
    scales: sweep.recipe.loop.scales,
    ...(sweep.fisher === undefined ? { plain: true } : { fisher: sweep.fisher }),
  };
  if (running) return <JobBar host={host} job={running} />;
  return (
    <span class="another-rank">
      {stopped && <Stopped host={host} job={stopped} />}
      <TextField
        label="Another rank"
        numeric
        value={typed}
        invalid={problem !== undefined}
        title={problem}
        onInput={setTyped}
      />
      <Button
        disabled={problem !== undefined || !view.canCompute}
        title="Measure the costs of all options at this rank"
        onClick={() => begin(request)}
      >
        Measure Rank
      </Button>
      <Button
        icon="terminal"
        label="Copy the measurement as command line"
        disabled={problem !== undefined}
        onClick={() => copyCommand(host, { command: 'sweep', request })}
      />
    </span>
  );
}
