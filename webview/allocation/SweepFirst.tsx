/** Before any plan: measure what every option costs, once. */
import { useState } from 'preact/hooks';
import type { AllocationView } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { copyCommand } from '../shared/actions';
import { TextInput } from '../shared/Field';
import { Name } from '../shared/Name';
import { Empty } from '../shared/Panel';
import { describeProgress } from '../shared/progress';
import { ProgressBar } from '../shared/ProgressBar';
import type { AllocationHost } from './host';
import { readRank, useSweep } from './useSweep';

export function SweepFirst(props: {
  host: AllocationHost;
  view: AllocationView;
  onDone: (view: AllocationView) => void;
}) {
  const { host, view } = props;
  const [typed, setTyped] = useState('16');
  const { rank, problem } = readRank(typed);
  const { running, begin } = useSweep(host, props.onDone);
  const request = { model: view.header.path, rank };
  if (running) {
    const { progress } = running;
    return (
      <div class="empty">
        <h2>Measuring costs</h2>
        <ProgressBar label="Measuring costs" done={progress?.done ?? 0} total={progress?.total ?? 0} />
        <p class="muted">
          {progress?.item ? <Name name={progress.item} /> : 'Starting the engine'}
          {progress && `, ${describeProgress(progress)}`}
        </p>
        <Button onClick={running.cancel}>Cancel</Button>
      </div>
    );
  }
  return (
    <Empty
      title="No costs have been measured yet"
      action={
        <div class="empty-form">
          <TextInput label="Rank" numeric value={typed} problem={problem} onInput={setTyped} />
          <Button primary disabled={problem !== undefined || !view.canCompute} onClick={() => begin(request)}>
            Measure Costs
          </Button>
          <Button disabled={problem !== undefined} onClick={() => copyCommand(host, { command: 'sweep', request })}>
            Copy as Command Line
          </Button>
        </div>
      }
    >
      {view.canCompute
        ? 'A plan weighs the error of every option of every matrix. They are measured once and kept; after that any budget is planned in milliseconds. To weight errors by Fisher information, compress with a calibration text.'
        : 'Trust this workspace to compute.'}
    </Empty>
  );
}
