/** Run-time checks of what panels are shown but core and the engine define: requests, reports, plans, statistics. */
import type { Plan, PlanOverride, PlanRow } from '../core/allocation/types';
import type { Budget } from '../core/options/budget';
import type { CheckpointProblem, Role, StorageFormat } from '../core/checkpoint/types';
import type { ErrorCode, ErrorData } from '../core/errors';
import type { FactorStorage, Option } from '../core/options/types';
import type { QuantConfig } from '../core/native';
import type { MetricKind, MetricRecipe, SweepRecipe } from '../core/options/recipe';
import type { DeviceReport } from './engine';
import type { CompareReport, PreviewReport, SpectrumReport, TensorStatistics } from '../core/analysis/types';
import type { CompressedMatrix, CompressReport, EstimateReport, Measure } from '../core/reports';
import type { CompressRequest, EvaluateRequest, JobSettings, SweepRequest } from '../core/requests/types';
import type { EvaluateReport } from '../core/evaluation/types';
import type { Progress, Stage } from '../core/progress';
import {
  anything,
  array,
  boolean,
  either,
  integer,
  list,
  measured,
  number,
  object,
  oneOf,
  optional,
  record,
  string,
  type Guard,
} from './guards';

export const role: Guard<Role> = oneOf(
  ...(['q', 'k', 'v', 'o', 'qkv', 'gate', 'up', 'down', 'gate_up', 'fc1', 'fc2'] as const),
  ...(['embedding', 'position', 'head', 'norm', 'bias', 'rotary', 'pooler', 'other'] as const),
);
export const format: Guard<StorageFormat> = oneOf(
  ...(['dense', 'lq', 'gptq', 'awq', 'bitsandbytes', 'compressed-tensors', 'mxfp4', 'fp8', 'lora'] as const),
);
export const factors: Guard<FactorStorage> = oneOf('nf8', 'bf16', 'fp32');
export const stage: Guard<Stage> = oneOf(
  ...([
    'open',
    'fisher',
    'sweep',
    'plan',
    'decompose',
    'write',
    'evaluate',
    'statistics',
    'compare',
    'export',
  ] as const),
);
export const shape = array(integer);

export const budget: Guard<Budget> = object<Budget>({ kind: oneOf('bits', 'effective-bits', 'bytes'), value: number });
export const override: Guard<PlanOverride> = object<PlanOverride>({
  match: string,
  minBits: optional(number),
  maxBits: optional(number),
});
export const config: Guard<QuantConfig> = object<QuantConfig>({
  b0: integer,
  b1: integer,
  b2: oneOf('bf16', 'fp16', 'fp32'),
  B0: integer,
  B1: integer,
});

export const metricKind: Guard<MetricKind> = oneOf('plain', 'fisher', 'kfac');
/** Parts of an option are the core's to judge; here it is a record with a rank. */
const option = object<Pick<Option, 'rank'>>({ rank: integer }) as Guard<unknown> as Guard<Option>;

/** Codes grow with the product; a newer host's code must not make its error unreadable. */
export const errorCode: Guard<ErrorCode> = string as Guard<unknown> as Guard<ErrorCode>;
export const error: Guard<ErrorData> = object<ErrorData>({
  code: errorCode,
  message: string,
  file: optional(string),
  tensor: optional(string),
  details: optional(record(either(number, string))),
});
export const progress: Guard<Progress> = object<Progress>({
  stage,
  item: optional(string),
  done: number,
  total: number,
  secondsLeft: optional(measured),
  device: optional(string),
  partial: anything,
});

export const norms: Guard<TensorStatistics['rowNorms']> = object<TensorStatistics['rowNorms']>({
  min: measured,
  max: measured,
  mean: measured,
  zero: integer,
});
export const statistics: Guard<TensorStatistics> = object<TensorStatistics>({
  name: string,
  dtype: string,
  shape,
  count: integer,
  zeros: integer,
  nans: integer,
  infs: integer,
  firstNan: integer,
  firstInf: integer,
  min: measured,
  max: measured,
  mean: measured,
  stddev: measured,
  absmax: measured,
  kurtosis: measured,
  histogram: object<TensorStatistics['histogram']>({
    low: measured,
    high: measured,
    counts: array(number),
    sampled: integer,
  }),
  rowNorms: norms,
  colNorms: norms,
});
export const spectrum: Guard<SpectrumReport> = object<SpectrumReport>({
  name: string,
  values: array(measured),
  energy: measured,
  rankFor: array(object<{ share: number; rank: number }>({ share: number, rank: integer })),
  suggestedRank: integer,
});
export const preview: Guard<PreviewReport> = object<PreviewReport>({
  name: string,
  rows: integer,
  cols: integer,
  minimum: array(measured),
  maximum: array(measured),
  mean: array(measured),
});
export const device: Guard<DeviceReport> = object<DeviceReport>({
  id: string,
  name: string,
  detail: string,
  memoryTotal: number,
  memoryFree: number,
});

export const settings: { [K in keyof JobSettings]-?: Guard<Exclude<JobSettings[K], undefined>> } = {
  device: optional(string),
  threads: optional(integer),
  cache: optional(string),
  seed: optional(integer),
};
export const scales = optional(oneOf('sqrt-of-means', 'means-of-sqrt'));
export const globs = optional(array(string));
const methodShape = {
  method: optional(string),
  metric: optional(metricKind),
  ranks: optional(array(integer)),
  grid: optional(array(config)),
  states: optional(integer),
  tailBiting: optional(boolean),
};
export const compressRequest: Guard<CompressRequest> = object<CompressRequest>({
  ...settings,
  model: string,
  out: string,
  budget,
  ...methodShape,
  calibration: optional(string),
  fisher: optional(string),
  plain: optional(boolean),
  samples: optional(integer),
  scales,
  iterations: optional(integer),
  patience: optional(integer),
  factors: optional(factors),
  evalText: optional(string),
  context: optional(integer),
  windows: optional(integer),
  include: globs,
  exclude: globs,
  overrides: optional(array(override)),
  format: optional(oneOf('packed', 'dense')),
  overwrite: optional(boolean),
  sweepOut: optional(string),
});
export const sweepRequest: Guard<SweepRequest> = object<SweepRequest>({
  ...settings,
  model: string,
  ...methodShape,
  fisher: optional(string),
  scales,
  iterations: optional(integer),
  patience: optional(integer),
  include: globs,
  exclude: globs,
  out: optional(string),
});
export const evaluateRequest: Guard<EvaluateRequest> = object<EvaluateRequest>({
  ...settings,
  model: string,
  text: string,
  context: optional(integer),
  windows: optional(integer),
  bos: optional(boolean),
});
export const evaluateShape: { [K in keyof EvaluateReport]-?: Guard<EvaluateReport[K]> } = {
  model: string,
  text: string,
  perplexity: measured,
  tokens: integer,
  windows: integer,
  context: integer,
  bos: boolean,
  seconds: number,
  device: string,
  warnings: array(string),
};
export const estimate: Guard<EstimateReport> = object<EstimateReport>({
  matrices: integer,
  parameters: integer,
  seconds: object<EstimateReport['seconds']>({ fisher: number, sweep: number, decompose: number, evaluate: number }),
  peakMemory: number,
  outputBytes: number,
  feasible: object<EstimateReport['feasible']>({ minimum: number, maximum: number }),
});

export const planRow: Guard<PlanRow> = object<PlanRow>({
  name: string,
  option,
  label: string,
  rate: number,
  bits: number,
  effectiveBits: number,
  bytes: number,
  cost: measured,
  predicted: boolean,
  choice: integer,
});
export const planShape: { [K in keyof Omit<Plan, 'matrices' | 'seconds'>]-?: Guard<Plan[K]> } = {
  budget,
  factors,
  bits: number,
  effectiveBits: number,
  bytes: number,
  objective: measured,
  bound: measured,
  gap: measured,
  optimal: boolean,
};
export const plan: Guard<Plan> = object<Plan>({ ...planShape, seconds: number, matrices: list(planRow) });
export const compressedMatrix: Guard<CompressedMatrix> = object<CompressedMatrix>({
  name: string,
  option,
  label: string,
  bits: number,
  effectiveBits: number,
  bytes: number,
  cost: measured,
  errorQuantized: optional(measured),
  errorLq: measured,
  errorStored: measured,
});
export const measure: Guard<Measure> = object<Measure>({
  perplexity: optional(measured),
  tokens: optional(number),
  windows: optional(number),
  bytes: number,
});
export const compressReport: Guard<CompressReport> = object<CompressReport>({
  ...planShape,
  model: string,
  output: string,
  recipe: record(anything) as Guard<unknown> as Guard<SweepRecipe>,
  fisher: optional(string),
  matrices: array(compressedMatrix),
  before: measure,
  after: measure,
  seconds: record(number),
  warnings: array(string),
});
export const compareTensors = array(
  object<CompareReport['tensors'][number]>({
    name: string,
    shape,
    formatA: string,
    formatB: string,
    relativeError: optional(measured),
    maxAbsolute: optional(measured),
  }),
);
export const compareReport: Guard<CompareReport> = object<CompareReport>({
  a: string,
  b: string,
  onlyA: array(string),
  onlyB: array(string),
  reshaped: array(object<CompareReport['reshaped'][number]>({ name: string, a: string, b: string })),
  tensors: compareTensors,
});
export const problem: Guard<CheckpointProblem> = object<CheckpointProblem>({
  severity: oneOf('error', 'warning'),
  code: string,
  message: string,
  file: optional(string),
  tensor: optional(string),
});
const metric: Guard<MetricRecipe> = object<{ kind: MetricKind; statistics?: string; damping?: number }>({
  kind: metricKind,
  statistics: optional(string),
  damping: optional(number),
}) as Guard<unknown> as Guard<MetricRecipe>;
export const recipe: Guard<SweepRecipe> = object<SweepRecipe>({
  method: string,
  metric,
  loop: object<SweepRecipe['loop']>({
    scales: oneOf('sqrt-of-means', 'means-of-sqrt'),
    iterations: integer,
    patience: integer,
    oversampling: integer,
    powerIterations: integer,
  }),
  seed: integer,
});
