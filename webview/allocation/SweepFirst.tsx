/** Before any plan: measure what every option costs, once. */
import { useState } from 'preact/hooks';
import type { SweepRequest } from '../../extension/core/requests/requests';
import type { AllocationView } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { copyCommand } from '../shared/actions';
import { TextInput } from '../shared/Field';
import { JobBar, Stopped } from '../shared/jobs';
import { Empty } from '../shared/Panel';
import type { AllocationHost } from './host';
import { readRank, useSweep } from './useSweep';

export function SweepFirst({ host, view }: { host: AllocationHost; view: AllocationView }) {
  const [typed, setTyped] = useState('16');
  const { rank, problem } = readRank(typed);
  const { running, stopped, begin } = useSweep(host);
  const request: SweepRequest = { model: view.header.path, method: 'lq-lora', ranks: [rank], plain: true };
  if (running) {
    return (
      <div class="empty">
        <h2>Measuring costs</h2>
        <JobBar host={host} job={running} />
        <p class="muted">Goes on when this panel is closed; the status bar shows it.</p>
      </div>
    );
  }
  return (
    <Empty
      title="No costs have been measured yet"
      action={
        <div class="empty-form">
          {stopped && <Stopped host={host} job={stopped} />}
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
