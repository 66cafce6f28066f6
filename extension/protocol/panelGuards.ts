/** Run-time checks of every message in panels.ts; the compiler holds each guard to its interface. */
import type { Budget, Plan, PlanOverride, PlanRow } from '../core/allocation/types';
import type { CheckpointProblem, Role, StorageFormat } from '../core/checkpoint/types';
import type { ErrorCode, ErrorData } from '../core/errors';
import type { FactorStorage, QuantConfig, SweepRecipe } from '../core/sensitivity/types';
import type { Contract, RequestGuards } from './channel';
import type {
  CompareReport,
  CompressedMatrix,
  CompressReport,
  CompressRequest,
  DeviceReport,
  EstimateReport,
  EvaluateReport,
  EvaluateRequest,
  JobSettings,
  Measure,
  PreviewReport,
  Progress,
  SpectrumReport,
  Stage,
  SweepRequest,
  TensorStatistics,
} from './engine';
import {
  anything,
  array,
  boolean,
  either,
  integer,
  list,
  measured,
  nothing,
  nullable,
  number,
  object,
  oneOf,
  optional,
  record,
  string,
  tagged,
  type Guard,
} from './guards';
import type * as P from './panels';

const role: Guard<Role> = oneOf(
  ...(['q', 'k', 'v', 'o', 'qkv', 'gate', 'up', 'down', 'gate_up', 'fc1', 'fc2'] as const),
  ...(['embedding', 'position', 'head', 'norm', 'bias', 'rotary', 'pooler', 'other'] as const),
);
const format: Guard<StorageFormat> = oneOf(
  ...(['dense', 'lq', 'gptq', 'awq', 'bitsandbytes', 'compressed-tensors', 'mxfp4', 'fp8', 'lora'] as const),
);
const factors: Guard<FactorStorage> = oneOf('nf8', 'bf16', 'fp32');
const stage: Guard<Stage> = oneOf(
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
const shape = array(integer);

const budget: Guard<Budget> = object<Budget>({ kind: oneOf('bits', 'effective-bits', 'bytes'), value: number });
const override: Guard<PlanOverride> = object<PlanOverride>({
  match: string,
  minBits: optional(number),
  maxBits: optional(number),
});
const config: Guard<QuantConfig> = object<QuantConfig>({
  b0: integer,
  b1: integer,
  b2: oneOf('bf16', 'fp16', 'fp32'),
  B0: integer,
  B1: integer,
});

/** Codes grow with the product; a newer host's code must not make its error unreadable. */
const errorCode: Guard<ErrorCode> = string as Guard<unknown> as Guard<ErrorCode>;
const error: Guard<ErrorData> = object<ErrorData>({
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

// --- Engine values ------------------------------------------------------------------------------------------------

const norms: Guard<TensorStatistics['rowNorms']> = object<TensorStatistics['rowNorms']>({
  min: measured,
  max: measured,
  mean: measured,
  zero: integer,
});
const statistics: Guard<TensorStatistics> = object<TensorStatistics>({
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
const spectrum: Guard<SpectrumReport> = object<SpectrumReport>({
  name: string,
  values: array(measured),
  energy: measured,
  rankFor: array(object<{ share: number; rank: number }>({ share: number, rank: integer })),
  suggestedRank: integer,
});
const preview: Guard<PreviewReport> = object<PreviewReport>({
  name: string,
  rows: integer,
  cols: integer,
  minimum: array(measured),
  maximum: array(measured),
  mean: array(measured),
});
const device: Guard<DeviceReport> = object<DeviceReport>({
  id: string,
  name: string,
  detail: string,
  memoryTotal: number,
  memoryFree: number,
});

const settings: { [K in keyof JobSettings]-?: Guard<Exclude<JobSettings[K], undefined>> } = {
  device: optional(string),
  threads: optional(integer),
  cache: optional(string),
  seed: optional(integer),
};
const scales = optional(oneOf('sqrt-of-means', 'means-of-sqrt'));
const globs = optional(array(string));
const compressRequest: Guard<CompressRequest> = object<CompressRequest>({
  ...settings,
  model: string,
  out: string,
  budget,
  rank: optional(integer),
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
  grid: optional(array(config)),
  format: optional(oneOf('packed', 'dense')),
  overwrite: optional(boolean),
  sweepOut: optional(string),
});
const sweepRequest: Guard<SweepRequest> = object<SweepRequest>({
  ...settings,
  model: string,
  rank: integer,
  fisher: optional(string),
  scales,
  iterations: optional(integer),
  patience: optional(integer),
  include: globs,
  exclude: globs,
  grid: optional(array(config)),
  out: optional(string),
});
const evaluateRequest: Guard<EvaluateRequest> = object<EvaluateRequest>({
  ...settings,
  model: string,
  text: string,
  context: optional(integer),
  windows: optional(integer),
  bos: optional(boolean),
});
const evaluateShape: { [K in keyof EvaluateReport]-?: Guard<EvaluateReport[K]> } = {
  model: string,
  text: string,
  perplexity: measured,
  tokens: integer,
  windows: integer,
  context: integer,
  bos: boolean,
  seconds: number,
  device: string,
};
const estimate: Guard<EstimateReport> = object<EstimateReport>({
  matrices: integer,
  parameters: integer,
  seconds: object<EstimateReport['seconds']>({ fisher: number, sweep: number, decompose: number, evaluate: number }),
  peakMemory: number,
  outputBytes: number,
  feasible: object<EstimateReport['feasible']>({ minimum: number, maximum: number }),
});

const planRow: Guard<PlanRow> = object<PlanRow>({
  name: string,
  config,
  rank: integer,
  bits: number,
  effectiveBits: number,
  bytes: number,
  cost: measured,
  option: integer,
});
const planShape: { [K in keyof Omit<Plan, 'matrices' | 'seconds'>]-?: Guard<Plan[K]> } = {
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
const plan: Guard<Plan> = object<Plan>({ ...planShape, seconds: number, matrices: list(planRow) });
const compressedMatrix: Guard<CompressedMatrix> = object<CompressedMatrix>({
  name: string,
  config,
  rank: integer,
  bits: number,
  effectiveBits: number,
  bytes: number,
  cost: measured,
  errorQuantized: measured,
  errorLq: measured,
  errorStored: measured,
});
const measure: Guard<Measure> = object<Measure>({
  perplexity: optional(measured),
  tokens: optional(number),
  windows: optional(number),
  bytes: number,
});
const compressReport: Guard<CompressReport> = object<CompressReport>({
  ...planShape,
  model: string,
  output: string,
  recipe: record(anything),
  fisher: optional(string),
  matrices: array(compressedMatrix),
  before: measure,
  after: measure,
  seconds: record(number),
  warnings: array(string),
});
const compareTensors = array(
  object<CompareReport['tensors'][number]>({
    name: string,
    shape,
    formatA: string,
    formatB: string,
    relativeError: optional(measured),
    maxAbsolute: optional(measured),
  }),
);
const compareReport: Guard<CompareReport> = object<CompareReport>({
  a: string,
  b: string,
  onlyA: array(string),
  onlyB: array(string),
  reshaped: array(object<CompareReport['reshaped'][number]>({ name: string, a: string, b: string })),
  tensors: compareTensors,
});

// --- Panel values -------------------------------------------------------------------------------------------------

const header: Guard<P.ModelHeader> = object<P.ModelHeader>({
  path: string,
  label: string,
  architecture: optional(string),
  parameters: number,
  dtype: string,
  bytes: number,
  bitsPerWeight: measured,
  files: integer,
  tensors: integer,
  compressed: boolean,
});
const targetShape: { [K in keyof P.TargetMatrix]-?: Guard<P.TargetMatrix[K]> } = {
  name: string,
  role,
  layer: integer,
  shape,
};
const destination: Guard<P.Destination> = object<P.Destination>({
  to: oneOf(
    ...(['checkpoint', 'compress', 'heatmap', 'allocation', 'perplexity', 'compare'] as const),
    ...(['export', 'health', 'explorer', 'settings', 'output'] as const),
  ),
  model: optional(string),
  tensor: optional(string),
  other: optional(string),
});
type CommandCase<C extends P.CommandLine['command']> = Extract<P.CommandLine, { command: C }>;
const commandLine: Guard<P.CommandLine> = tagged<P.CommandLine, 'command'>('command', {
  inspect: object<CommandCase<'inspect'>>({ command: oneOf('inspect'), model: string, tensor: optional(string) }),
  compress: object<CommandCase<'compress'>>({ command: oneOf('compress'), request: compressRequest }),
  sweep: object<CommandCase<'sweep'>>({ command: oneOf('sweep'), request: sweepRequest }),
  plan: object<CommandCase<'plan'>>({
    command: oneOf('plan'),
    model: string,
    budget,
    factors,
    overrides: array(override),
  }),
  evaluate: object<CommandCase<'evaluate'>>({ command: oneOf('evaluate'), request: evaluateRequest }),
  compare: object<CommandCase<'compare'>>({ command: oneOf('compare'), a: string, b: string, values: boolean }),
});

const pathAnswer: Guard<{ path?: string }> = object<{ path?: string }>({ path: optional(string) });
const common: RequestGuards<P.CommonRequests> = {
  save: {
    params: object<P.SavedFile>({ name: string, type: oneOf('csv', 'json', 'png'), data: string }),
    result: pathAnswer,
  },
  copy: { params: object<{ text: string }>({ text: string }), result: nothing },
  copyCommand: { params: commandLine, result: object<{ text: string }>({ text: string }) },
  navigate: { params: destination, result: nothing },
  openPath: { params: object<{ path: string }>({ path: string }), result: nothing },
  pick: {
    params: object<P.CommonRequests['pick'][0]>({
      what: oneOf('calibration', 'evaluation', 'fisher', 'output', 'checkpoint'),
      current: optional(string),
    }),
    result: pathAnswer,
  },
};
const commonEvents = {
  engine: object<P.CommonEvents['engine']>({
    state: oneOf('stopped', 'starting', 'running', 'failed'),
    reason: optional(string),
  }),
};

const problem: Guard<CheckpointProblem> = object<CheckpointProblem>({
  severity: oneOf('error', 'warning'),
  code: string,
  message: string,
  file: optional(string),
  tensor: optional(string),
});
type Part = NonNullable<P.TensorRow['parts']>[number];
const tensorRow: Guard<P.TensorRow> = object<P.TensorRow>({
  name: string,
  shape,
  dtype: string,
  format,
  role,
  layer: integer,
  parameters: number,
  bytes: number,
  bitsPerWeight: measured,
  file: integer,
  parts: optional(array(object<Part>({ name: string, dtype: string, shape, bytes: number }))),
});
const checkpointView: Guard<P.CheckpointView> = object<P.CheckpointView>({
  header,
  canCompute: boolean,
  files: array(
    object<P.CheckpointView['files'][number]>({
      path: string,
      name: string,
      bytes: number,
      tensors: integer,
      missing: boolean,
    }),
  ),
  metadata: array(object<P.CheckpointView['metadata'][number]>({ file: string, key: string, value: string })),
  problems: array(problem),
  rows: array(tensorRow),
  select: optional(string),
  statistics: array(statistics),
  twin: optional(header),
});
const tensorTwin: Guard<P.TensorTwin> = object<P.TensorTwin>({
  model: string,
  name: string,
  config: optional(config),
  rank: optional(integer),
  bits: optional(number),
  effectiveBits: optional(number),
  errorQuantized: optional(measured),
  errorLq: optional(measured),
  errorStored: optional(measured),
  difference: object<P.TensorTwin['difference']>({
    rows: integer,
    cols: integer,
    mean: array(measured),
    relativeError: measured,
    maxAbsolute: measured,
  }),
  preview,
});

const cells = object<{ tensor: string; rows: number; cols: number }>({ tensor: string, rows: integer, cols: integer });
export const checkpointContract: Contract<P.CheckpointRequests, P.CheckpointEvents> = {
  requests: {
    ...common,
    load: { params: nothing, result: checkpointView },
    statistics: {
      params: object<{ tensor?: string }>({ tensor: optional(string) }),
      result: object<{ computed: number }>({ computed: integer }),
    },
    spectrum: {
      params: object<{ tensor: string; count?: number }>({ tensor: string, count: optional(integer) }),
      result: spectrum,
    },
    preview: { params: cells, result: preview },
    twin: { params: cells, result: nullable(tensorTwin) },
  },
  events: {
    ...commonEvents,
    statistics: array(statistics),
    select: object<{ tensor: string }>({ tensor: string }),
    changed: checkpointView,
  },
};

const target: Guard<P.TargetMatrix> = object<P.TargetMatrix>(targetShape);
const job: Guard<P.JobState> = object<P.JobState>({
  id: string,
  state: oneOf('running', 'done', 'failed', 'cancelled', 'interrupted'),
  request: compressRequest,
  started: number,
  ended: optional(number),
  progress: optional(progress),
  error: optional(error),
  report: optional(compressReport),
});
const jobId = object<{ job: string }>({ job: string });
export const compressContract: Contract<P.CompressRequests, P.CompressEvents> = {
  requests: {
    ...common,
    load: {
      params: nothing,
      result: object<P.CompressView>({
        header,
        canCompute: boolean,
        targets: array(target),
        devices: array(device),
        form: compressRequest,
        job: optional(job),
      }),
    },
    estimate: { params: compressRequest, result: estimate },
    match: {
      params: object<P.CompressRequests['match'][0]>({ include: globs, exclude: globs }),
      result: object<P.CompressRequests['match'][1]>({ names: array(string), parameters: number }),
    },
    start: { params: compressRequest, result: job },
    resume: { params: jobId, result: job },
    cancel: { params: jobId, result: nothing },
  },
  events: { ...commonEvents, job },
};

const knownMetric = oneOf(
  ...(['bits', 'effective-bits', 'rank', 'error', 'relative-error', 'low-rank-gain'] as const),
  ...(['fisher-mass', 'absmax', 'stddev', 'kurtosis', 'zeros'] as const),
);
const metricId: Guard<P.MetricId> = (value, path) =>
  typeof value === 'string' && value.startsWith('external:') ? undefined : knownMetric(value, path);
const metric: Guard<P.Metric> = object<P.Metric>({
  id: metricId,
  label: string,
  unit: string,
  about: string,
  scale: oneOf('sequential', 'diverging'),
  log: boolean,
  status: either(
    oneOf('ready', 'compute'),
    object<{ needs: string; action?: P.Destination }>({ needs: string, action: optional(destination) }),
  ),
});
const heatmapView: Guard<P.HeatmapView> = object<P.HeatmapView>({
  header,
  compressed: optional(header),
  rows: array(string),
  layers: array(integer),
  cells: array(object<P.HeatCell>({ name: string, row: integer, column: integer, shape })),
  metrics: array(metric),
  metric: metricId,
});
const heatValue: Guard<P.HeatValue> = nullable(either(number, oneOf('nan')));
const heatValues: Guard<P.HeatValues> = object<P.HeatValues>({
  metric: metricId,
  original: optional(array(heatValue)),
  compressed: optional(array(heatValue)),
});
export const heatmapContract: Contract<P.HeatmapRequests, P.HeatmapEvents> = {
  requests: {
    ...common,
    load: { params: nothing, result: heatmapView },
    values: { params: object<{ metric: P.MetricId }>({ metric: metricId }), result: heatValues },
    external: { params: nothing, result: nullable(metric) },
  },
  events: { ...commonEvents, values: heatValues, changed: heatmapView },
};

const planSummary: Guard<P.PlanSummary> = object<P.PlanSummary>({
  budget,
  bits: number,
  effectiveBits: number,
  bytes: number,
  objective: measured,
  relativeError: measured,
});
const recipe: Guard<SweepRecipe> = object<SweepRecipe>({
  method: oneOf('lq'),
  weighting: oneOf('plain', 'fisher'),
  scales: oneOf('sqrt-of-means', 'means-of-sqrt'),
  fisher: optional(string),
  rank: integer,
  iterations: integer,
  patience: integer,
  oversampling: integer,
  powerIterations: integer,
  seed: integer,
});
type Sweep = NonNullable<P.AllocationView['sweep']>;
const allocationView: Guard<P.AllocationView> = object<P.AllocationView>({
  header,
  canCompute: boolean,
  sweep: optional(
    object<Sweep>({
      recipe,
      options: integer,
      device: string,
      seconds: number,
      date: optional(number),
      targets: array(object<Sweep['targets'][number]>({ ...targetShape, norm: measured, weightedNorm: measured })),
    }),
  ),
  factors,
  budget,
  overrides: array(override),
  current: optional(planSummary),
  measured: array(
    object<P.AllocationView['measured'][number]>({
      effectiveBits: number,
      bytes: number,
      perplexity: measured,
      label: string,
    }),
  ),
});
const queryShape: { [K in keyof P.PlanQuery]-?: Guard<P.PlanQuery[K]> } = {
  budget,
  factors,
  overrides: array(override),
};
export const allocationContract: Contract<P.AllocationRequests, P.AllocationEvents> = {
  requests: {
    ...common,
    load: { params: nothing, result: allocationView },
    plan: {
      params: object<P.AllocationRequests['plan'][0]>({ ...queryShape, quick: boolean }),
      result: object<P.PlanAnswer>({ plan, relativeError: measured }),
    },
    curve: {
      params: object<P.AllocationRequests['curve'][0]>({ factors, overrides: array(override) }),
      result: object<P.AllocationRequests['curve'][1]>({ points: array(planSummary) }),
    },
    use: { params: object<P.PlanQuery>(queryShape), result: nothing },
    sweep: { params: sweepRequest, result: allocationView },
  },
  events: { ...commonEvents, changed: allocationView },
};

const run: Guard<P.PerplexityRun> = object<P.PerplexityRun>({
  ...evaluateShape,
  id: string,
  label: string,
  dense: boolean,
  bits: number,
  effectiveBits: number,
  bytes: number,
  date: number,
  recipe: array(object<P.PerplexityRun['recipe'][number]>({ key: string, value: string })),
  request: optional(compressRequest),
});
const perplexityView: Guard<P.PerplexityView> = object<P.PerplexityView>({
  header,
  canCompute: boolean,
  runs: array(run),
  models: array(object<P.PerplexityView['models'][number]>({ path: string, label: string })),
  text: optional(string),
  context: integer,
});
export const perplexityContract: Contract<P.PerplexityRequests, P.PerplexityEvents> = {
  requests: {
    ...common,
    load: { params: nothing, result: perplexityView },
    evaluate: { params: evaluateRequest, result: run },
    forget: { params: object<{ id: string }>({ id: string }), result: nothing },
  },
  events: { ...commonEvents, changed: perplexityView },
};

const compareView: Guard<P.CompareView> = object<P.CompareView>({
  a: optional(header),
  b: optional(header),
  canCompute: boolean,
});
export const compareContract: Contract<P.CompareRequests, P.CompareEvents> = {
  requests: {
    ...common,
    load: { params: nothing, result: compareView },
    choose: {
      params: object<P.CompareRequests['choose'][0]>({ side: oneOf('a', 'b'), path: optional(string) }),
      result: compareView,
    },
    structure: { params: nothing, result: compareReport },
    values: { params: nothing, result: compareReport },
  },
  events: { ...commonEvents, tensors: compareTensors, changed: compareView },
};

/** Panel -> its contract, for the host to serve and a panel to connect with. */
export const contracts = {
  checkpoint: checkpointContract,
  compress: compressContract,
  heatmap: heatmapContract,
  allocation: allocationContract,
  perplexity: perplexityContract,
  compare: compareContract,
};
