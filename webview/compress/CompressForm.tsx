/** What to spend, how to weigh errors, which matrices, where to; the estimate beside it follows every change. */
import type { EstimateReport, RequestProblem } from '../../extension/core/reports';
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
import { methodOf, showBudget, sizeUnit, splitGlobs, splits, targetOf, toRequest, writeSize, type Form } from './form';

type Set = <F extends keyof Form>(field: F, value: Form[F]) => void;
/** What is typed: the parts of the form that are text, whatever they are read as. */
type TextFieldName = { [F in keyof Form]: string extends Form[F] ? F : never }[keyof Form];
type Pick = CommonRequests['pick'][0]['what'];

/** Where the form shows what is wrong with a field of the request. */
const fieldOf: Record<RequestProblem['field'], keyof Form> = {
  budget: 'budget',
  ranks: 'rank',
  include: 'include',
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
  const { request, problems } = useMemo(() => toRequest(form, view), [form, view]);
  const target = targetOf(form, view);
  const method = methodOf(form, view);
  /** The size that is asked for, in every unit. */
  const [amounts, setAmounts] = useState<EstimateReport['amounts']>();
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
        <Size view={view} form={form} problem={problems.budget} amounts={amounts} change={change} />
        <Group title="Where will it run" about="The format decides what a matrix can become, and the size of the file.">
          <SelectInput
            label="Program"
            value={target.id}
            onChange={id => change({ target: id, method: view.consumers.find(each => each.id === id)!.methods[0]! })}
            choices={view.consumers.map(({ id, label, readers }) => ({ value: id, label: `${readers} (${label})` }))}
            {...(target.id === 'dense' && { note: 'No smaller than before: every program reads it.' })}
          />
          {splits(target) && (
            <TextInput
              label={`Parts of ${sizeUnit(view.header.bytes).name}`}
              name="Size of a part"
              numeric
              placeholder="one file"
              note="Several files, each of at most this."
              {...text('split')}
            />
          )}
        </Group>
        <Group title="Method" about={method.description}>
          {target.methods.length > 1 ? (
            <SelectInput
              label="Options"
              value={method.id}
              onChange={id => change({ method: id, rank: id === 'lq-lora' ? (view.paper.ranks ?? []).join(', ') : '' })}
              choices={view.methods
                .filter(({ id }) => target.methods.includes(id))
                .map(({ id, label }) => ({
                  value: id,
                  label: id === target.methods[0] ? `${label} (default)` : label,
                }))}
              note={method.source}
            />
          ) : (
            <Field label="Options">
              <span>{method.label}</span>
            </Field>
          )}
          {method.ranked && (
            <>
              <TextInput
                label="Ranks"
                name="Rank"
                placeholder={method.id === 'lq-lora' ? '16' : 'none'}
                note="Of the low-rank part L1·L2, one or several to choose from; 0 is quantisation alone."
                {...text('rank')}
              />
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
            </>
          )}
        </Group>
        <Group title="Importance" about="Which errors count: those the loss feels on a text like yours, or all alike.">
          <SegmentsInput
            label="Which errors count"
            value={form.importance}
            onChange={value => set('importance', value)}
            choices={[
              { value: 'calibration', label: 'From a text' },
              { value: 'fisher', label: 'From a file' },
              { value: 'plain', label: 'All weights alike' },
            ]}
            {...(problems.importance !== undefined
              ? { problem: problems.importance }
              : form.importance === 'plain' && {
                  note: 'A calibration text makes a far better result of the same size.',
                })}
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
              {method.secondPass && (
                <Field label="" note="Each matrix on what the encoded ones before it give: better at the same size.">
                  <Checkbox checked={form.secondPass} onChange={value => set('secondPass', value)}>
                    Second pass in layer order
                  </Checkbox>
                </Field>
              )}
            </>
          )}
          {form.importance === 'fisher' && (
            <TextInput label="Statistics" name="Fisher file" {...path('fisher', 'fisher')} />
          )}
        </Group>
        <Matrices host={host} view={view} form={form} set={set} problem={problems.include} />
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
          {method.id === 'lq-lora' && (
            <TextInput label="Iterations at most" numeric placeholder="100" {...text('iterations')} />
          )}
          <TextInput label="Seed" numeric placeholder="0" {...text('seed')} />
          {method.id === 'lq-lora' && (
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
          )}
        </details>
      </div>
      <Estimate host={host} view={view} request={request} onProblems={setFound} onAmounts={setAmounts} />
    </div>
  );
}

/** How large the result may be: the first question, in the unit that is chosen. */
function Size(props: {
  view: CompressView;
  form: Form;
  problem: string | undefined;
  amounts: EstimateReport['amounts'] | undefined;
  change: (fields: Partial<Form>) => void;
}) {
  const { view, form, change } = props;
  const unit = sizeUnit(view.header.bytes);
  // The paper's bits leave factors out, which only its own method speaks of.
  const paper = methodOf(form, view).id === 'lq-lora';
  return (
    <Group title="How large may it be" about={`The original takes ${writeSize(view.header.bytes, unit)}.`}>
      <SegmentsInput
        label="Counted as"
        value={form.budgetKind}
        onChange={kind => {
          const value = props.amounts?.[kind];
          change({ budgetKind: kind, budget: value === undefined ? '' : showBudget({ kind, value }, unit) });
        }}
        choices={[
          { value: 'bytes', label: 'Size of the file' },
          { value: 'effective-bits', label: 'Effective bits' },
          ...(paper || form.budgetKind === 'bits' ? [{ value: 'bits' as const, label: 'Bits' }] : []),
        ]}
      />
      <TextInput
        label={form.budgetKind === 'bytes' ? unit.name : 'Bits per weight'}
        name="Budget"
        numeric
        note={
          form.budgetKind === 'bits'
            ? 'Codes and scales, as in the paper; factors come on top.'
            : form.budgetKind === 'effective-bits'
              ? 'Everything stored for the matrices, factors too.'
              : 'All that is written, embeddings and head included.'
        }
        value={form.budget}
        problem={props.problem}
        onInput={value => change({ budget: value })}
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
            <button type="button" class="link blue" onClick={() => change({ overrides: [] })}>
              Drop rules
            </button>
          </span>
        </Field>
      )}
    </Group>
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
              {`, ${formatDate(job.ended ?? job.created)}${job.older ? ', of older files' : ''}`}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const describeBudget = ({ budget, ranks, method }: CompressRequest): string =>
  [
    budget.kind === 'bytes' ? formatBytes(budget.value) : formatBits(budget.value),
    budget.kind === 'bits' ? ' bits' : budget.kind === 'effective-bits' ? ' effective bits' : '',
    method === undefined ? '' : `, ${method}`,
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

/** What is compressed, by what becomes of embedding and head. */
const ABOUT = {
  asked: 'Linear weights of the repeated blocks. Norms stay as they are.',
  always: 'Linear weights of the repeated blocks, embedding and head. Norms stay as they are.',
  never: 'Linear weights of the repeated blocks. Embeddings, head and norms stay as they are.',
} as const;

/** Include and exclude patterns with the matrices they leave, counted as they are typed. */
function Matrices(props: {
  host: CompressHost;
  view: CompressView;
  form: Form;
  set: Set;
  problem: string | undefined;
}) {
  const { host, view, form, set } = props;
  const total = view.targets.length;
  const target = targetOf(form, view);
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
    <Group title="Matrices" about={ABOUT[target.embeddings]}>
      {target.embeddings === 'asked' && (
        <Field label="" note="A share of a small model, and next to nothing of a large one.">
          <Checkbox checked={form.embeddings} onChange={value => set('embeddings', value)}>
            Embedding and head too
          </Checkbox>
        </Field>
      )}
      <TextInput
        label="Only"
        name="Only these matrices"
        placeholder="all, or patterns such as *.self_attn.*"
        value={form.include}
        problem={props.problem}
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
