/** Before any plan: measure what every option costs, once. */
import type { SweepRequest } from '../../extension/core/requests/requests';
import type { AllocationView } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { copyCommand } from '../shared/actions';
import { TextInput } from '../shared/Field';
import { isString, useSaved } from '../shared/host';
import { JobBar, Stopped } from '../shared/jobs';
import { notifyError } from '../shared/notices';
import { Empty } from '../shared/Panel';
import type { AllocationHost } from './host';
import { useSweep } from './useSweep';

export function SweepFirst({ host, view }: { host: AllocationHost; view: AllocationView }) {
  const { running, stopped, begin } = useSweep(host);
  const [text, setText] = useSaved('calibration', view.text.calibration ?? '', isString);
  const request: SweepRequest = {
    model: view.header.path,
    ...(text === '' ? { plain: true } : { ...view.text, calibration: text }),
  };
  if (running) {
    return (
      <div class="empty">
        <h2>Measuring costs</h2>
        <JobBar host={host} job={running} />
        <p class="muted">Goes on when this panel is closed; the status bar shows it.</p>
      </div>
    );
  }
  const browse = () =>
    void host
      .request('pick', { what: 'calibration', ...(text !== '' && { current: text }) })
      .then(({ path }) => path !== undefined && setText(path), notifyError);
  return (
    <Empty
      title="No costs have been measured yet"
      action={
        <div class="empty-form">
          {stopped && <Stopped host={host} job={stopped} />}
          <TextInput
            label="Calibration text"
            class="grow"
            placeholder="None: all weights alike"
            value={text}
            onInput={setText}
            onBrowse={browse}
          />
          <Button primary disabled={!view.canCompute} onClick={() => begin(request)}>
            Measure Costs
          </Button>
          <Button onClick={() => copyCommand(host, { command: 'sweep', request })}>Copy as Command Line</Button>
        </div>
      }
    >
      {view.older && 'The files have changed since costs were measured, so those say nothing of them. '}
      {view.canCompute
        ? 'A plan weighs the error of every option of every matrix. They are measured once and kept; after that any budget is planned in milliseconds. With a calibration text errors are weighed by what the loss feels.'
        : 'Trust this workspace to compute.'}
    </Empty>
  );
}
