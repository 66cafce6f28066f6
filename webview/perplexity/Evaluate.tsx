/** One more evaluation: of which checkpoint, on which text. */
import { useState } from 'preact/hooks';
import { formatNumber } from '../../extension/core/format';
import type { EvaluateRequest } from '../../extension/core/requests/requests';
import type { Progress } from '../../extension/core/progress';
import type { PerplexityRun, PerplexityView } from '../../extension/protocol/panels';
import { Button, Menu } from '../controls';
import { copyCommand } from '../shared/actions';
import { SelectInput, TextInput } from '../shared/Field';
import { isString, useSaved } from '../shared/host';
import { notify, notifyError } from '../shared/notices';
import { describeProgress } from '../shared/progress';
import { ProgressBar } from '../shared/ProgressBar';
import type { PerplexityHost } from './host';

export function Evaluate({
  host,
  view,
  onRun,
}: {
  host: PerplexityHost;
  view: PerplexityView;
  onRun: (run: PerplexityRun) => void;
}) {
  const [model, setModel] = useState(view.models[0]?.path ?? view.header.path);
  const [text, setText] = useSaved('text', view.text ?? '', isString);
  const [context, setContext] = useSaved('context', String(view.context), isString);
  const [windows, setWindows] = useSaved('windows', '', isString);
  const [running, setRunning] = useState<{ abort: AbortController; progress?: Progress }>();
  const whole = (value: string) => /^[1-9]\d*$/.test(value);
  const request: EvaluateRequest = {
    model,
    text,
    context: Number(context),
    ...(windows !== '' && { windows: Number(windows) }),
  };
  const valid = text !== '' && whole(context) && (windows === '' || whole(windows));
  const begin = () => {
    if (!valid) return;
    const abort = new AbortController();
    setRunning({ abort });
    host
      .request('evaluate', request, { signal: abort.signal, onProgress: progress => setRunning({ abort, progress }) })
      .then(run => {
        onRun(run);
        notify(`${run.label}: perplexity ${formatNumber(run.perplexity)}`);
      }, notifyError)
      .finally(() => setRunning(undefined));
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
        <div class="field evaluating">
          <span class="field-label muted number" role="status">
            {running.progress ? describeProgress(running.progress) : 'Starting'}
          </span>
          <span class="with-button">
            <ProgressBar label="Evaluating" done={running.progress?.done ?? 0} total={running.progress?.total ?? 0} />
            <Button onClick={() => running.abort.abort()}>Cancel</Button>
          </span>
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
    </section>
  );
}
