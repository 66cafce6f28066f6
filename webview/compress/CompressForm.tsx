/** What to spend, how to weigh errors, which matrices, where to; the estimate beside it follows every change. */
import type { RequestProblem } from '../../extension/core/reports';
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import {
  formatBits,
  formatBytes,
  formatCount,
  formatDate,
  formatInteger,
  formatNumber,
} from '../../extension/core/format';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { CommonRequests, CompressView, JobState } from '../../extension/protocol/panels';
import { Button, Checkbox } from '../controls';
import { Field, SegmentsInput, SelectInput, TextInput } from '../shared/Field';
import { isActive } from '../shared/jobs';
import { Name } from '../shared/Name';
import { notifyError } from '../shared/notices';
import type { CompressHost } from './host';
import { Estimate } from './Estimate';
import { splitGlobs, toRequest, type Form } from './form';

type Set = <F extends keyof Form>(field: F, value: Form[F]) => void;
/** What is typed: the parts of the form that are text, whatever they are read as. */
type TextFieldName = { [F in keyof Form]: string extends Form[F] ? F : never }[keyof Form];
type Pick = CommonRequests['pick'][0]['what'];

/** Where the form shows what is wrong with a field of the request. */
const fieldOf: Record<RequestProblem['field'], keyof Form> = {
  budget: 'budget',
  ranks: 'rank',
  calibration: 'calibration',
  fisher: 'fisher',
  evalText: 'evalText',
  out: 'out',
};

export function CompressForm(props: {
  host: CompressHost;
  view: CompressView;
  /** Compressions of this checkpoint, newest first. */
  jobs: readonly JobState[];
  form: Form;
  onForm: (form: Form) => void;
  /** The request, while every field is right. */
  onRequest: (request: CompressRequest | undefined) => void;
  onShow: (job: string) => void;
}) {
  const { host, view, form } = props;
  const change = (fields: Partial<Form>) => props.onForm({ ...form, ...fields });
  const set: Set = (field, value) => change({ [field]: value });
  const { request, problems } = useMemo(() => toRequest(form, view.form), [form, view.form]);
  const [found, setFound] = useState<readonly RequestProblem[] | undefined>();
  // What is typed may be right and impossible all the same: only what is known to be possible is started.
  const startable = found?.length === 0 ? request : undefined;
  useEffect(() => props.onRequest(startable), [startable]);
  for (const { field, message } of found ?? []) problems[fieldOf[field]] ??= message;
  const taken = found?.find(({ suggestion }) => suggestion !== undefined);

  const text = (field: TextFieldName) => ({
    value: form[field],
    problem: problems[field],
    onInput: (value: string) => set(field, value),
  });
  const path = (field: TextFieldName, what: Pick) => ({
    ...text(field),
    onBrowse: () =>
      void host
        .request('pick', { what, ...(form[field] && { current: form[field] }) })
        .then(picked => picked.path !== undefined && set(field, picked.path), notifyError),
  });

  return (
    <div class="scroll compress">
      <div class="compress-form">
        <Earlier jobs={props.jobs} onShow={props.onShow} />
        <Group title="Budget" about="What the compressed weights may cost.">
          <SegmentsInput
            label="Held fixed"
            value={form.budgetKind}
            onChange={kind =>
              change({
                budgetKind: kind,
                budget: kind === 'bytes' ? '' : form.budgetKind === 'bytes' ? '2.75' : form.budget,
              })
            }
            choices={[
              { value: 'bits', label: 'Bits' },
              { value: 'effective-bits', label: 'Effective bits' },
              { value: 'bytes', label: 'Size in GB' },
            ]}
          />
          <TextInput
            label={form.budgetKind === 'bytes' ? 'Gigabytes' : 'Bits per weight'}
            name="Budget"
            numeric
            note={
              form.budgetKind === 'bits'
                ? 'Codes and scales, as in the paper; factors come on top.'
                : form.budgetKind === 'effective-bits'
                  ? 'Everything stored for the matrices, factors too.'
                  : 'The whole exported checkpoint.'
            }
            {...text('budget')}
          />
          {form.overrides.length > 0 && (
            <Field label="Rules" note="From the allocation panel.">
              <span class="rule-chips">
                {form.overrides.map(rule => (
                  <Name
                    key={rule.match}
                    name={`${rule.match}${rule.minBits === undefined ? '' : ` ≥ ${rule.minBits}`}${rule.maxBits === undefined ? '' : ` ≤ ${rule.maxBits}`}`}
                  />
                ))}
                <button type="button" class="link blue" onClick={() => set('overrides', [])}>
                  Drop rules
                </button>
              </span>
            </Field>
          )}
        </Group>
        <Group title="Low-rank part" about="W = Q + L1·L2: what quantisation loses, the factors keep.">
          <TextInput label="Rank" numeric note="0 quantises alone." {...text('rank')} />
          <SelectInput
            label="Factors stored as"
            value={form.factors}
            onChange={value => set('factors', value)}
            choices={[
              { value: 'nf8', label: 'NF8 (8.1 bits)' },
              { value: 'bf16', label: 'BF16' },
              { value: 'fp32', label: 'FP32' },
            ]}
          />
        </Group>
        <Group title="Importance" about="Which errors count: all alike, or those the loss feels.">
          <SegmentsInput
            label="Which errors count"
            value={form.importance}
            onChange={value => set('importance', value)}
            choices={[
              { value: 'calibration', label: 'Fisher, from text' },
              { value: 'fisher', label: 'Fisher, from file' },
              { value: 'plain', label: 'All weights alike' },
            ]}
          />
          {form.importance === 'calibration' && (
            <>
              <TextInput label="Calibration text" {...path('calibration', 'calibration')} />
              <TextInput
                label="Samples"
                numeric
                placeholder="64"
                note="Sequences of one context each."
                {...text('samples')}
              />
            </>
          )}
          {form.importance === 'fisher' && <TextInput label="Fisher file" {...path('fisher', 'fisher')} />}
        </Group>
        <Matrices host={host} view={view} form={form} set={set} />
        <Group title="Evaluation" about="Perplexity before and after, on a text of yours. Optional.">
          <TextInput label="Text" name="Evaluation text" {...path('evalText', 'evaluation')} />
          {form.evalText !== '' && (
            <>
              <TextInput
                label="Context"
                name="Context in tokens"
                numeric
                placeholder="512"
                note="Tokens a window."
                {...text('context')}
              />
              <TextInput
                label="Windows"
                name="Windows, all when empty"
                numeric
                placeholder="all"
                note="All of the text when empty."
                {...text('windows')}
              />
            </>
          )}
        </Group>
        <Group title="Output">
          <TextInput label="Folder" name="Output folder" {...path('out', 'output')} />
          {taken?.suggestion !== undefined && (
            <Field label="">
              <Button onClick={() => set('out', taken.suggestion!)}>
                Use {taken.suggestion.split(/[/\\]/).at(-1)!.slice(0, 80)}
              </Button>
              <Button onClick={() => set('overwrite', true)}>Replace</Button>
            </Field>
          )}
          <SegmentsInput
            note={
              form.format === 'dense'
                ? 'BF16 weights, for other tools: no smaller than before.'
                : 'Codes, scales and factors: the small one.'
            }
            label="Format"
            value={form.format}
            onChange={value => set('format', value)}
            choices={[
              { value: 'packed', label: 'Packed' },
              { value: 'dense', label: 'Dense' },
            ]}
          />
          <Field label="">
            <Checkbox checked={form.overwrite} onChange={value => set('overwrite', value)}>
              Replace what is there
            </Checkbox>
          </Field>
        </Group>
        <details class="advanced">
          <summary>Advanced</summary>
          <SelectInput
            label="Device"
            value={form.device}
            onChange={value => set('device', value)}
            choices={[
              { value: 'auto', label: 'Best there is' },
              ...view.devices.map(device => ({
                value: device.id,
                label: `${device.name.slice(0, 60)} (${formatBytes(device.memoryFree)} free)`,
              })),
            ]}
          />
          <TextInput label="Threads" numeric placeholder="0" note="0 for all cores." {...text('threads')} />
          <TextInput label="Iterations at most" numeric placeholder="100" {...text('iterations')} />
          <TextInput label="Seed" numeric placeholder="0" {...text('seed')} />
          <SelectInput
            note="How Fisher information becomes two vectors."
            label="Row and column scales"
            value={form.scales}
            onChange={value => set('scales', value)}
            choices={[
              { value: 'sqrt-of-means', label: 'Root of means (reference code)' },
              { value: 'means-of-sqrt', label: 'Mean of roots (paper)' },
            ]}
          />
        </details>
      </div>
      <Estimate host={host} view={view} request={request} onProblems={setFound} />
    </div>
  );
}

/** What was compressed before, or stopped before its end, one click away. */
function Earlier({ jobs, onShow }: { jobs: readonly JobState[]; onShow: (job: string) => void }) {
  const ended = jobs.filter(job => !isActive(job)).slice(0, 5);
  if (ended.length === 0) return null;
  return (
    <section class="earlier" aria-label="Earlier compressions">
      <h2>Earlier</h2>
      <ul>
        {ended.map(job => (
          <li key={job.id}>
            <button type="button" class="link blue" onClick={() => onShow(job.id)}>
              {describeBudget(job.request)}
            </button>
            <span class="muted">
              {job.report
                ? [
                    `${formatBits(job.report.effectiveBits)} effective bits`,
                    formatBytes(job.report.after.bytes),
                    job.report.after.perplexity !== undefined &&
                      `perplexity ${formatNumber(job.report.after.perplexity)}`,
                  ]
                    .filter(Boolean)
                    .join(', ')
                : job.state}
              {`, ${formatDate(job.ended ?? job.created)}`}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const describeBudget = ({ budget, ranks }: CompressRequest): string =>
  [
    budget.kind === 'bytes' ? formatBytes(budget.value) : formatBits(budget.value),
    budget.kind === 'bits' ? ' bits' : budget.kind === 'effective-bits' ? ' effective bits' : '',
    ranks === undefined ? '' : `, rank ${ranks.join(', ')}`,
  ].join('');

function Group(props: { title: string; about?: string; children: ComponentChildren }) {
  return (
    <section class="group" aria-label={props.title}>
      <h2>{props.title}</h2>
      {props.about && <p class="muted">{props.about}</p>}
      {props.children}
    </section>
  );
}

/** Include and exclude patterns with the matrices they leave, counted as they are typed. */
function Matrices({ host, view, form, set }: { host: CompressHost; view: CompressView; form: Form; set: Set }) {
  const total = view.targets.length;
  const [matched, setMatched] = useState<{ names: string[]; parameters: number }>();
  useEffect(() => {
    const include = splitGlobs(form.include);
    const exclude = splitGlobs(form.exclude);
    const abort = new AbortController();
    const timer = setTimeout(() => {
      host
        .request(
          'match',
          { ...(include.length > 0 && { include }), ...(exclude.length > 0 && { exclude }) },
          { signal: abort.signal },
        )
        .then(setMatched, notifyError);
    }, 150);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [form.include, form.exclude]);
  return (
    <Group title="Matrices" about="Linear weights of the repeated blocks. Embeddings, head and norms stay as they are.">
      <TextInput
        label="Only"
        name="Only these matrices"
        placeholder="all, or patterns such as *.self_attn.*"
        value={form.include}
        onInput={value => set('include', value)}
      />
      <TextInput
        label="Except"
        name="Except these matrices"
        placeholder="none, or patterns such as *.0.*"
        value={form.exclude}
        onInput={value => set('exclude', value)}
      />
      <Field label="">
        <details class="matched">
          <summary class={matched?.names.length === 0 ? 'bad' : ''}>
            <span role="status">
              {matched
                ? `${formatInteger(matched.names.length)} of ${formatInteger(total)} matrices, ${formatCount(matched.parameters)} weights`
                : 'Counting…'}
            </span>
          </summary>
          <ul>
            {matched?.names.slice(0, 200).map(name => (
              <li key={name}>
                <Name name={name} />
              </li>
            ))}
            {matched && matched.names.length > 200 && (
              <li class="muted">and {formatInteger(matched.names.length - 200)} more</li>
            )}
          </ul>
        </details>
      </Field>
    </Group>
  );
}
