/** The form as text fields hold it, and the request it becomes once every field is right. */
import type { PlanOverride, Budget } from '../../extension/core/options/budget';
import type { FactorStorage } from '../../extension/core/options/types';
import type { CompressRequest } from '../../extension/core/requests/requests';

export type Importance = 'plain' | 'calibration' | 'fisher';
export interface Form {
  budgetKind: Budget['kind'];
  budget: string;
  rank: string;
  factors: FactorStorage;
  importance: Importance;
  calibration: string;
  fisher: string;
  samples: string;
  include: string;
  exclude: string;
  evalText: string;
  context: string;
  windows: string;
  out: string;
  format: 'packed' | 'dense';
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

/** Sizes are typed in gigabytes. */
const GB = 1e9;

export const showBudget = (budget: Budget): string =>
  budget.kind === 'bytes'
    ? String(Number((budget.value / GB).toPrecision(5)))
    : String(Number(budget.value.toFixed(4)));

const text = (value: number | undefined): string => (value === undefined ? '' : String(value));
const globs = (value: readonly string[] | undefined): string => (value ?? []).join(', ');

export function toForm(request: CompressRequest): Form {
  return {
    budgetKind: request.budget.kind,
    budget: showBudget(request.budget),
    rank: text(request.ranks?.[0]),
    factors: request.factors ?? 'nf8',
    importance: request.fisher !== undefined ? 'fisher' : request.calibration !== undefined ? 'calibration' : 'plain',
    calibration: request.calibration ?? '',
    fisher: request.fisher ?? '',
    samples: text(request.samples),
    include: globs(request.include),
    exclude: globs(request.exclude),
    evalText: request.evalText ?? '',
    context: text(request.context),
    windows: text(request.windows),
    out: request.out,
    format: request.format ?? 'packed',
    overwrite: request.overwrite ?? false,
    device: request.device ?? 'auto',
    threads: text(request.threads),
    iterations: text(request.iterations),
    seed: text(request.seed),
    scales: request.scales ?? 'sqrt-of-means',
    overrides: request.overrides ?? [],
  };
}

const emptyForm = toForm({ model: '', out: '', budget: { kind: 'bits', value: 0 } });

export const splitGlobs = (value: string): string[] => value.split(/[\s,]+/).filter(Boolean);

/** The one way to weight errors that was chosen. */
function weightingOf({ importance, calibration, fisher }: Form): Pick<CompressRequest, Importance> {
  if (importance === 'plain') return { plain: true };
  return importance === 'calibration' ? { calibration } : { fisher };
}

export type Problems = Partial<Record<Field, string>>;

/** Either a request, or what is wrong by field. Settings the form does not show are taken from `base`. */
export function toRequest(form: Form, base: CompressRequest): { request?: CompressRequest; problems: Problems } {
  const problems: Problems = {};
  const whole = (field: Field, value: string, least: number): number | undefined => {
    if (value.trim() === '') return undefined;
    const number = Number(value);
    if (Number.isSafeInteger(number) && number >= least) return number;
    problems[field] = `A whole number, ${least} or more`;
    return undefined;
  };
  const budget = Number(form.budget);
  if (form.budget.trim() === '' || !(budget > 0)) problems.budget = 'A number above 0';
  const rank = whole('rank', form.rank, 0);
  if (form.rank.trim() === '') problems.rank = 'A whole number, 0 or more';
  if (form.importance === 'calibration' && form.calibration === '') problems.calibration = 'Choose a text';
  if (form.importance === 'fisher' && form.fisher === '') problems.fisher = 'Choose a file';
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

  const include = splitGlobs(form.include);
  const exclude = splitGlobs(form.exclude);
  const request: CompressRequest = {
    model: base.model,
    out: form.out.trim(),
    budget: { kind: form.budgetKind, value: form.budgetKind === 'bytes' ? Math.round(budget * GB) : budget },
    factors: form.factors,
    format: form.format,
    device: form.device,
    scales: form.scales,
    ...(base.cache !== undefined && { cache: base.cache }),
    ...(base.grid && { grid: base.grid }),
    ...(base.method !== undefined && { method: base.method }),
    ...(rank !== undefined && { ranks: [rank] }),
    ...weightingOf(form),
    ...(form.evalText !== '' && { evalText: form.evalText }),
    ...(include.length > 0 && { include }),
    ...(exclude.length > 0 && { exclude }),
    ...(form.overrides.length > 0 && { overrides: form.overrides }),
    ...(form.overwrite && { overwrite: true }),
  };
  for (const [key, value] of Object.entries(numbers)) if (value !== undefined) Object.assign(request, { [key]: value });
  return { request, problems };
}
