/** Before any plan: measure what every option costs, once. */
import { useState } from 'preact/hooks';
import { formatDuration } from '../../extension/core/format';
import type { Progress } from '../../extension/protocol/engine';
import type { AllocationView } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { copyCommand } from '../shared/actions';
import { TextInput } from '../shared/Field';
import { Name } from '../shared/Name';
import { notifyError } from '../shared/notices';
import { Empty } from '../shared/Panel';
import { ProgressBar } from '../shared/ProgressBar';
import type { AllocationHost } from './AllocationPanel';

export function SweepFirst(props: {
  host: AllocationHost;
  view: AllocationView;
  onDone: (view: AllocationView) => void;
}) {
  const { host, view } = props;
  const [rank, setRank] = useState('16');
  const [running, setRunning] = useState<{ abort: AbortController; progress?: Progress }>();
  const valid = /^\d+$/.test(rank) && Number(rank) <= 1024;
  const request = { model: view.header.path, rank: Number(rank) };
  const begin = () => {
    const abort = new AbortController();
    setRunning({ abort });
    host
      .request('sweep', request, { signal: abort.signal, onProgress: progress => setRunning({ abort, progress }) })
      .then(props.onDone, notifyError)
      .finally(() => setRunning(undefined));
  };
  if (running) {
    const { progress } = running;
    return (
      <div class="empty">
        <h2>Measuring costs</h2>
        <ProgressBar label="Measuring costs" done={progress?.done ?? 0} total={progress?.total ?? 0} />
        <p class="muted">
          {progress?.item ? <Name name={progress.item} /> : 'Starting the engine'}
          {progress?.secondsLeft !== undefined && `, ${formatDuration(progress.secondsLeft)} left`}
        </p>
        <Button onClick={() => running.abort.abort()}>Cancel</Button>
      </div>
    );
  }
  return (
    <Empty
      title="No costs have been measured yet"
      action={
        <div class="empty-form">
          <TextInput
            label="Rank"
            numeric
            value={rank}
            problem={valid ? undefined : 'A whole number, 1024 or less'}
            onInput={setRank}
          />
          <Button primary disabled={!valid || !view.canCompute} onClick={begin}>
            Measure Costs
          </Button>
          <Button disabled={!valid} onClick={() => copyCommand(host, { command: 'sweep', request })}>
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
