/** Time, memory and size before anything starts. */
import { useEffect, useState } from 'preact/hooks';
import type { ErrorData } from '../../extension/core/errors';
import {
  formatBits,
  formatBytes,
  formatCoverage,
  formatCount,
  formatDuration,
  formatInteger,
  formatPercent,
} from '../../extension/core/format';
import { describeError } from '../../extension/protocol/channel';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { EstimateReport, RequestProblem } from '../../extension/core/reports';
import type { CompressView } from '../../extension/protocol/panels';
import { sizeUnit, writeSize } from './form';
import { Fact } from '../shared/Panel';
import { Icon } from '../shared/icons';
import type { CompressHost } from './host';
import { Loads } from './Loads';

const stages: { key: keyof EstimateReport['seconds']; label: string }[] = [
  { key: 'baseline', label: 'Evaluation of the original' },
  { key: 'fisher', label: 'Calibration statistics' },
  { key: 'sweep', label: 'Costs of all options' },
  { key: 'decompose', label: 'Writing the plan' },
  { key: 'evaluate', label: 'Evaluation' },
];

export function Estimate({
  host,
  view,
  request,
  onProblems,
  onAmounts,
}: {
  host: CompressHost;
  view: CompressView;
  request: CompressRequest | undefined;
  /** What would make the request fail; undefined while that is not known. */
  onProblems: (problems: readonly RequestProblem[] | undefined) => void;
  /** The size that is asked for, in every unit. */
  onAmounts: (amounts: EstimateReport['amounts']) => void;
}) {
  const [estimate, setEstimate] = useState<EstimateReport>();
  const [error, setError] = useState<ErrorData>();
  useEffect(() => {
    onProblems(undefined);
    if (!request) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      host.request('estimate', request, { signal: abort.signal }).then(
        found => {
          setEstimate(found);
          setError(undefined);
          onProblems(found.problems);
          onAmounts(found.amounts);
        },
        (failure: unknown) => {
          if (abort.signal.aborted) return;
          const { code, message, ...rest } = describeError(failure);
          // Patterns that leave nothing are put right where they are typed.
          if (code === 'no-targets') onProblems([{ field: 'include', code, message }]);
          setError({ code, message, ...rest });
        },
      );
    }, 250);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [request]);

  if (error) {
    return (
      <aside class="estimate" aria-label="Estimate">
        <h2>Estimate</h2>
        <p class="bad">
          <Icon name="error" /> {error.message.slice(0, 600)}
        </p>
      </aside>
    );
  }
  if (!estimate) {
    return (
      <aside class="estimate" aria-label="Estimate">
        <h2>Estimate</h2>
        <p class="muted">{request ? 'Estimating…' : 'Complete the form for an estimate.'}</p>
      </aside>
    );
  }
  const total = stages.reduce((sum, { key }) => sum + estimate.seconds[key], 0);
  const device = view.devices.find(({ id }) => id === request?.device) ?? view.devices[0];
  const tight = device !== undefined && estimate.peakMemory > device.memoryFree;
  const { minimum, maximum } = estimate.feasible;
  const value = request?.budget.value ?? minimum;
  const infeasible = value < minimum || value > maximum;
  const unit = sizeUnit(view.header.bytes);
  const write = request?.budget.kind === 'bytes' ? (bytes: number) => writeSize(bytes, unit) : formatBits;
  return (
    <aside class={`estimate ${request ? '' : 'stale'}`} aria-label="Estimate" aria-live="polite">
      <h2>Estimate</h2>
      <dl class="estimate-main">
        <Fact label="Time" value={formatDuration(total)} />
        <Fact label="Peak memory" value={formatBytes(estimate.peakMemory)} />
        <Fact label="Size" value={formatBytes(estimate.outputBytes)} />
      </dl>
      <table class="parts">
        <tbody>
          {stages
            .filter(({ key }) => estimate.seconds[key] > 0)
            .map(({ key, label }) => (
              <tr key={key}>
                <td>{label}</td>
                <td class="end">{formatDuration(estimate.seconds[key])}</td>
              </tr>
            ))}
        </tbody>
      </table>
      <p class="muted">
        {formatInteger(estimate.matrices)} matrices, {formatCount(estimate.parameters)} weights;{' '}
        {formatPercent(estimate.outputBytes / view.header.bytes)} of the original {formatBytes(view.header.bytes)}.
      </p>
      <p class="muted">Covers {formatCoverage(estimate.coverage)}.</p>
      <p class={infeasible ? 'bad' : 'muted'}>
        {infeasible && <Icon name="warning" />} Possible: {write(minimum)} to {write(maximum)}
        {request?.budget.kind === 'bytes' ? '' : ' bits'}.
      </p>
      {estimate.notes.map((note, index) => (
        <p key={index} class="warning">
          <Icon name="warning" /> {note.slice(0, 400)}
        </p>
      ))}
      <Loads verdicts={estimate.loads} />
      {tight && (
        <p class="bad">
          <Icon name="warning" /> More memory than the {formatBytes(device.memoryFree)} free on{' '}
          {device.name.slice(0, 60)}.
        </p>
      )}
    </aside>
  );
}
