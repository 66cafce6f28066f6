/** What the plan under the slider is and buys, in numbers. */
import {
  formatBits,
  formatBytes,
  formatCertificate,
  formatCoverage,
  formatNumber,
  formatPercent,
  weighing,
} from '../../extension/core/format';
import type { AllocationView, PlanAnswer } from '../../extension/protocol/panels';
import { Select } from '../controls';
import { Fact } from '../shared/Panel';
import type { Current } from './host';

/** How a plan's error compares with that of what was made. */
function changeTo(current: Current | undefined, error: number | undefined): string {
  if (!current || error === undefined || !(current.relativeError > 0)) return '';
  const change = error / current.relativeError - 1;
  if (Math.abs(change) <= 0.001) return 'as what was made';
  return `${change > 0 ? '+' : ''}${formatPercent(change)} to what was made`;
}

export function Readout(props: {
  view: AllocationView;
  answer: PlanAnswer | undefined;
  settling: boolean;
  current: Current | undefined;
  onCurrent: (name: string) => void;
}) {
  const { view, answer, settling, current } = props;
  const plan = answer?.plan;
  const error = answer?.relativeError;
  return (
    <dl class="readout" aria-live="polite">
      <Fact label="Bits" value={formatBits(plan?.bits)} title="Codes and scales over target weights, as in the paper" />
      <Fact
        label="Effective bits"
        value={formatBits(plan?.effectiveBits)}
        title="Everything stored for the targets, low-rank factors too"
      />
      <Fact
        label="Size"
        value={
          <>
            {formatBytes(plan?.bytes)}
            <small class="muted">{plan && `${formatPercent(plan.bytes / view.header.bytes)} of the original`}</small>
          </>
        }
      />
      <Fact
        label="Predicted error"
        value={
          <>
            {formatPercent(error)}
            <small class="muted">{changeTo(current, error)}</small>
          </>
        }
        title={`Relative error, ${weighing[view.sweep?.recipe.metric.kind ?? 'plain']}; objective ${formatNumber(plan?.objective)}`}
      />
      {plan?.predicted !== undefined && (
        <Fact
          label="Predicted perplexity"
          value={
            <>
              {formatNumber(plan.predicted.perplexity)}
              <small class="muted">
                {formatNumber(plan.predicted.low)} to {formatNumber(plan.predicted.high)}
              </small>
            </>
          }
          title="From the compressions of this checkpoint that were evaluated: the loss that is added grows with the error"
        />
      )}
      <Fact
        label="Solution"
        value={<span class="certificate">{plan && !settling ? formatCertificate(plan) : 'settling…'}</span>}
        title="The linear programme is the plan's relaxation: no plan can cost less than its bound, and the best one often costs a little more"
      />
      {view.currents.length > 0 && (
        <Fact
          label="Made"
          value={
            view.currents.length > 1 ? (
              <Select
                label="Compression to hold the plan against"
                value={current?.name ?? ''}
                choices={view.currents.map(({ name }) => ({ value: name, label: name.slice(0, 60) }))}
                onChange={props.onCurrent}
              />
            ) : (
              <span class="certificate">{current?.name.slice(0, 60)}</span>
            )
          }
          title="The compression whose plan is marked on the slider and on the curve"
        />
      )}
      {plan?.coverage !== undefined && (
        <Fact
          label="Covers"
          value={formatPercent(plan.coverage.weights / plan.coverage.blockWeights)}
          title={formatCoverage(plan.coverage)}
        />
      )}
    </dl>
  );
}
