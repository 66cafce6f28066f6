/** One more evaluation: of which checkpoint, on which text. */
import { useState } from 'preact/hooks';
import type { EvaluateRequest } from '../../extension/core/requests/requests';
import type { PerplexityView } from '../../extension/protocol/panels';
import { Button, Menu } from '../controls';
import { copyCommand } from '../shared/actions';
import { SelectInput, TextInput } from '../shared/Field';
import { isString, useSaved } from '../shared/host';
import { isActive, JobBar, Stopped, useJobs } from '../shared/jobs';
import { notifyError } from '../shared/notices';
import type { PerplexityHost } from './host';

export function Evaluate({
  host,
  view,
  onStart,
}: {
  host: PerplexityHost;
  view: PerplexityView;
  /** Told which job, and later which run, it will be. */
  onStart: (id: string) => void;
}) {
  const [model, setModel] = useState(view.models[0]?.path ?? view.header.path);
  const [text, setText] = useSaved('text', view.text ?? '', isString);
  const [context, setContext] = useSaved('context', String(view.context), isString);
  const [windows, setWindows] = useSaved('windows', '', isString);
  const [newest] = useJobs(host).filter(({ method }) => method === 'evaluate');
  const running = newest && isActive(newest) ? newest : undefined;
  const whole = (value: string) => /^[1-9]\d*$/.test(value);
  const request: EvaluateRequest = {
    model,
    text,
    context: Number(context),
    ...(windows !== '' && { windows: Number(windows) }),
  };
  const valid = text !== '' && whole(context) && (windows === '' || whole(windows));
  const begin = () => {
    if (valid && !running) host.request('evaluate', request).then(({ job }) => onStart(job), notifyError);
  };
  const pick = () =>
    void host
      .request('pick', { what: 'evaluation', ...(text && { current: text }) })
      .then(({ path }) => path !== undefined && setText(path), notifyError);
  return (
    <section class="evaluate" aria-label="Evaluate">
      <SelectInput
        class="grow"
        label="Checkpoint"
        value={model}
        choices={view.models.map(({ path, label }) => ({ value: path, label: label.slice(0, 100) }))}
        onChange={setModel}
      />
      <TextInput
        label="Text"
        name="Text to evaluate on"
        class="grow"
        placeholder="A plain text file"
        value={text}
        onInput={setText}
        onCommit={begin}
        onBrowse={pick}
      />
      <TextInput
        label="Context"
        name="Context in tokens"
        numeric
        value={context}
        problem={whole(context) ? undefined : 'A whole number'}
        onInput={setContext}
      />
      <TextInput
        label="Windows"
        name="Windows, all when empty"
        numeric
        placeholder="all"
        value={windows}
        problem={windows === '' || whole(windows) ? undefined : 'A whole number'}
        onInput={setWindows}
      />
      {running ? (
        <div class="evaluating">
          <JobBar host={host} job={running} />
        </div>
      ) : (
        <div class="evaluate-actions">
          <Button
            disabled={!valid || !view.canCompute}
            title={view.canCompute ? '' : 'Trust this workspace to compute'}
            onClick={begin}
          >
            Evaluate
          </Button>
          <Menu
            label="More about this evaluation"
            icon="more"
            items={[
              {
                label: 'Copy as Command Line',
                icon: 'terminal',
                disabled: !valid,
                onSelect: () => copyCommand(host, { command: 'evaluate', request }),
              },
            ]}
          />
        </div>
      )}
      {newest && !running && <Stopped host={host} job={newest} />}
    </section>
  );
}
