/** What to compare: the size, the texts, and which methods. */
import type { MethodsRequest } from '../../extension/core/requests/requests';
import type { MethodsView } from '../../extension/protocol/panels';
import { Button, Checkbox } from '../controls';
import { TextInput } from '../shared/Field';
import { isString, useSaved } from '../shared/host';
import { isActive, JobBar, Stopped, useJobs } from '../shared/jobs';
import { notifyError } from '../shared/notices';
import type { MethodsHost } from './host';

const isWhole = (value: string): boolean => /^[1-9]\d*$/.test(value);
const isNames = (value: unknown): value is string[] => Array.isArray(value) && value.every(isString);

export function MethodsForm({
  host,
  view,
  onStart,
}: {
  host: MethodsHost;
  view: MethodsView;
  /** Told which job, and later which comparison, it will be. */
  onStart: (id: string) => void;
}) {
  const { form } = view;
  const [bits, setBits] = useSaved('bits', String(form.effectiveBits), isString);
  const [calibration, setCalibration] = useSaved('calibration', form.calibration ?? '', isString);
  const [evalText, setEvalText] = useSaved('evalText', form.evalText ?? '', isString);
  const [samples, setSamples] = useSaved('samples', String(form.samples), isString);
  const [windows, setWindows] = useSaved('windows', form.windows === undefined ? '' : String(form.windows), isString);
  const [left, setLeft] = useSaved<string[]>('leftOut', [], isNames);
  const [newest] = useJobs(host).filter(({ method }) => method === 'methods');
  const running = newest && isActive(newest) ? newest : undefined;
  const chosen = view.methods.map(({ id }) => id).filter(id => !left.includes(id));
  const problems = {
    bits: Number(bits) > 0 ? undefined : 'A number of bits',
    samples: isWhole(samples) ? undefined : 'A whole number',
    windows: windows === '' || isWhole(windows) ? undefined : 'A whole number',
  };
  const valid =
    Object.values(problems).every(each => each === undefined) &&
    calibration !== '' &&
    evalText !== '' &&
    chosen.length > 0;
  const begin = () => {
    if (!valid || running) return;
    const request: MethodsRequest = {
      model: view.header.path,
      effectiveBits: Number(bits),
      calibration,
      evalText,
      samples: Number(samples),
      ...(form.context !== undefined && { context: form.context }),
      ...(windows !== '' && { windows: Number(windows) }),
      ...(left.length > 0 && { methods: chosen }),
    };
    host.request('start', request).then(({ job }) => onStart(job), notifyError);
  };
  const pick = (what: 'calibration' | 'evaluation', current: string, set: (path: string) => void) => () =>
    void host
      .request('pick', { what, ...(current && { current }) })
      .then(({ path }) => path !== undefined && set(path), notifyError);
  return (
    <section class="methods-form" aria-label="Compare methods">
      <TextInput
        label="Effective bits"
        name="Effective bits a weight"
        numeric
        value={bits}
        problem={problems.bits}
        onInput={setBits}
        onCommit={begin}
      />
      <TextInput
        label="Calibration text"
        class="grow"
        placeholder="A plain text file"
        value={calibration}
        onInput={setCalibration}
        onBrowse={pick('calibration', calibration, setCalibration)}
      />
      <TextInput label="Samples" numeric value={samples} problem={problems.samples} onInput={setSamples} />
      <TextInput
        label="Evaluation text"
        class="grow"
        placeholder="A plain text file"
        value={evalText}
        onInput={setEvalText}
        onBrowse={pick('evaluation', evalText, setEvalText)}
      />
      <TextInput
        label="Windows"
        name="Windows, all when empty"
        numeric
        placeholder="all"
        value={windows}
        problem={problems.windows}
        onInput={setWindows}
      />
      <fieldset class="methods-choice">
        <legend>Methods</legend>
        {view.methods.map(({ id, label, source, description }) => (
          <Checkbox
            key={id}
            title={`${description} ${source}`}
            checked={!left.includes(id)}
            onChange={on => setLeft(on ? left.filter(each => each !== id) : [...left, id])}
          >
            {label}
          </Checkbox>
        ))}
      </fieldset>
      {running ? (
        <div class="methods-running">
          <JobBar host={host} job={running} />
        </div>
      ) : (
        <Button
          disabled={!valid || !view.canCompute}
          title={view.canCompute ? '' : 'Trust this workspace to compute'}
          onClick={begin}
        >
          Compare
        </Button>
      )}
      {newest && !running && <Stopped host={host} job={newest} />}
    </section>
  );
}
