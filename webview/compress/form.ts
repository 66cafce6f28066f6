/** The form as text fields hold it, and the request it becomes once every field is right. */
import type { PlanOverride, Budget } from '../../extension/core/options/budget';
import type { FactorStorage } from '../../extension/core/options/types';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { CompressView, MethodChoice, TargetChoice } from '../../extension/protocol/panels';

type Importance = 'plain' | 'calibration' | 'fisher';
export interface Form {
  budgetKind: Budget['kind'];
  budget: string;
  /** Of `CompressView.consumers`. */
  target: string;
  /** Of `CompressView.methods`. */
  method: string;
  /** The most that a file may have, in the unit of sizes; empty for one file. */
  split: string;
  /** Ranks to choose from, apart by commas. */
  rank: string;
  factors: FactorStorage;
  importance: Importance;
  calibration: string;
  fisher: string;
  samples: string;
  secondPass: boolean;
  embeddings: boolean;
  include: string;
  exclude: string;
  evalText: string;
  context: string;
  windows: string;
  out: string;
  overwrite: boolean;
  device: string;
  threads: string;
  iterations: string;
  seed: string;
  scales: 'sqrt-of-means' | 'means-of-sqrt';
  overrides: PlanOverride[];
}
type Field = keyof Form;

/** Whether what an earlier session kept has every field of the form. */
export const isForm = (value: unknown): value is Form =>
  typeof value === 'object' &&
  value !== null &&
  Object.entries(emptyForm).every(([field, empty]) => typeof (value as Partial<Form>)[field as Field] === typeof empty);

/** The unit that sizes of a checkpoint are written in: one for label, value and range. */
export interface SizeUnit {
  name: 'MB' | 'GB';
  bytes: number;
}
export const sizeUnit = (bytes: number): SizeUnit =>
  bytes < 1e9 ? { name: 'MB', bytes: 1e6 } : { name: 'GB', bytes: 1e9 };

/** Always in the unit, whatever the amount. */
export const writeSize = (bytes: number, unit: SizeUnit): string =>
  `${Number((bytes / unit.bytes).toPrecision(4))} ${unit.name}`;

export const showBudget = ({ kind, value }: Budget, unit: SizeUnit): string =>
  kind === 'bytes' ? String(Number((value / unit.bytes).toPrecision(6))) : String(Number(value.toFixed(4)));

const text = (value: number | undefined): string => (value === undefined ? '' : String(value));
const globs = (value: readonly string[] | undefined): string => (value ?? []).join(', ');

/** What the form is filled in for. */
type Choices = Pick<CompressView, 'header' | 'consumers' | 'methods' | 'paper'>;

export function toForm(request: CompressRequest, view: Choices): Form {
  const target = view.consumers.find(each => isTarget(each, request)) ?? view.consumers[0]!;
  return {
    budgetKind: request.budget.kind,
    budget: showBudget(request.budget, sizeUnit(view.header.bytes)),
    target: target.id,
    method: request.method ?? target.methods[0]!,
    split:
      request.splitSize === undefined
        ? ''
        : showBudget({ kind: 'bytes', value: request.splitSize }, sizeUnit(view.header.bytes)),
    rank: (request.ranks ?? []).join(', '),
    factors: request.factors ?? 'nf8',
    importance: request.fisher !== undefined ? 'fisher' : request.calibration !== undefined ? 'calibration' : 'plain',
    calibration: request.calibration ?? '',
    fisher: request.fisher ?? '',
    samples: text(request.samples),
    secondPass: request.secondPass ?? true,
    embeddings: request.embeddings ?? false,
    include: globs(request.include),
    exclude: globs(request.exclude),
    evalText: request.evalText ?? '',
    context: text(request.context),
    windows: text(request.windows),
    out: request.out,
    overwrite: request.overwrite ?? false,
    device: request.device ?? 'auto',
    threads: text(request.threads),
    iterations: text(request.iterations),
    seed: text(request.seed),
    scales: request.scales ?? 'sqrt-of-means',
    overrides: request.overrides ?? [],
  };
}

/** A dense output is a format of its own, whatever it is for. */
const isTarget = ({ request: wanted }: TargetChoice, given: CompressRequest): boolean =>
  given.format === 'dense' ? wanted.format === 'dense' : wanted.for === (given.for ?? 'packed');

const emptyForm = toForm(
  { model: '', out: '', budget: { kind: 'bits', value: 0 } },
  {
    header: { bytes: 0 } as CompressView['header'],
    consumers: [{ id: '', label: '', readers: '', request: {}, methods: [''], embeddings: 'never' }],
    methods: [],
    paper: {},
  },
);

export const splitGlobs = (value: string): string[] => value.split(/[\s,]+/).filter(Boolean);

export const targetOf = (form: Form, view: Choices): TargetChoice =>
  view.consumers.find(({ id }) => id === form.target) ?? view.consumers[0]!;

/** Whether what is written can be several files: GGUF alone is split by size. */
export const splits = ({ request }: TargetChoice): boolean => request.for === 'gguf';

/** The method that is chosen, or the usual one where the target does not have that. */
export function methodOf(form: Form, view: Choices): MethodChoice {
  const allowed = targetOf(form, view).methods;
  const id = allowed.includes(form.method) ? form.method : allowed[0];
  return view.methods.find(method => method.id === id) ?? view.methods[0]!;
}

/** The one way to weight errors that was chosen. */
function weightingOf({ importance, calibration, fisher }: Form): Pick<CompressRequest, Importance> {
  if (importance === 'plain') return { plain: true };
  return importance === 'calibration' ? { calibration } : { fisher };
}

export type Problems = Partial<Record<Field, string>>;

/** What is missing of the way to weight errors that was chosen. */
function weightingProblem(form: Form, method: MethodChoice): Problems {
  switch (form.importance) {
    case 'calibration':
      return form.calibration === '' ? { calibration: 'Choose a text' } : {};
    case 'fisher':
      return form.fisher === '' ? { fisher: 'Choose a file' } : {};
    case 'plain':
      return method.metrics.includes('plain')
        ? {}
        : { importance: `${method.label} needs a text, or statistics of one` };
  }
}

/** Reads whole numbers of fields that may be empty; what is none becomes a problem of its field. */
const wholeNumbers =
  (problems: Problems) =>
  (field: Field, value: string, least: number): number | undefined => {
    if (value.trim() === '') return undefined;
    const number = Number(value);
    if (Number.isSafeInteger(number) && number >= least) return number;
    problems[field] = `A whole number, ${least} or more`;
    return undefined;
  };

/** Which matrices are compressed. */
function selectionOf(form: Form, target: TargetChoice): Pick<CompressRequest, 'include' | 'exclude' | 'embeddings'> {
  const include = splitGlobs(form.include);
  const exclude = splitGlobs(form.exclude);
  return {
    ...(target.embeddings === 'asked' && form.embeddings && { embeddings: true }),
    ...(include.length > 0 && { include }),
    ...(exclude.length > 0 && { exclude }),
  };
}

/** Bytes of the largest part of a target that can be in parts; undefined: it is one file. */
function splitSizeOf(form: Form, view: CompressView, target: TargetChoice, problems: Problems): number | undefined {
  if (!splits(target) || form.split.trim() === '') return undefined;
  const bytes = Number(form.split) * sizeUnit(view.header.bytes).bytes;
  if (!(bytes >= 1)) problems.split = 'A number above 0';
  return Math.round(bytes);
}

/** Either a request, or what is wrong by field. Settings the form does not show are taken from the view. */
export function toRequest(form: Form, view: CompressView): { request?: CompressRequest; problems: Problems } {
  const problems: Problems = {};
  const whole = wholeNumbers(problems);
  const target = targetOf(form, view);
  const method = methodOf(form, view);
  const budget = Number(form.budget);
  if (form.budget.trim() === '' || !(budget > 0)) problems.budget = 'A number above 0';
  const typed = form.rank.split(/[\s,]+/).filter(Boolean);
  const ranks = method.ranked ? typed.map(rank => whole('rank', rank, 0)) : [];
  if (problems.rank !== undefined) problems.rank = 'Whole numbers, 0 or more';
  Object.assign(problems, weightingProblem(form, method));
  const unit = sizeUnit(view.header.bytes).bytes;
  const splitSize = splitSizeOf(form, view, target, problems);
  if (form.out.trim() === '') problems.out = 'Choose a folder';
  const numbers = {
    samples: form.importance === 'calibration' ? whole('samples', form.samples, 1) : undefined,
    context: whole('context', form.context, 2),
    windows: whole('windows', form.windows, 1),
    threads: whole('threads', form.threads, 0),
    iterations: whole('iterations', form.iterations, 1),
    seed: whole('seed', form.seed, 0),
  };
  if (Object.keys(problems).length > 0) return { problems };

  const { form: base, paper } = view;
  const chosen = ranks.filter(rank => rank !== undefined);
  const request: CompressRequest = {
    model: base.model,
    out: form.out.trim(),
    budget: { kind: form.budgetKind, value: form.budgetKind === 'bytes' ? Math.round(budget * unit) : budget },
    ...target.request,
    ...(splitSize !== undefined && { splitSize }),
    method: method.id,
    device: form.device,
    ...(base.cache !== undefined && { cache: base.cache }),
    ...(method.id === 'lq-lora' && { scales: form.scales, ...(paper.grid && { grid: paper.grid }) }),
    ...(method.ranked && { factors: form.factors }),
    ...(chosen.length > 0 && { ranks: chosen }),
    ...weightingOf(form),
    ...(method.secondPass && form.importance === 'calibration' && !form.secondPass && { secondPass: false }),
    ...(form.evalText !== '' && { evalText: form.evalText }),
    ...selectionOf(form, target),
    ...(form.overrides.length > 0 && { overrides: form.overrides }),
    ...(form.overwrite && { overwrite: true }),
  };
  for (const [key, value] of Object.entries(numbers)) if (value !== undefined) Object.assign(request, { [key]: value });
  return { request, problems };
}
