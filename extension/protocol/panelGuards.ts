/** Run-time checks of every message in panels.ts; the compiler holds each guard to its interface. */
import type { Contract } from './channel';
import {
  array,
  boolean,
  either,
  integer,
  measured,
  nothing,
  nullable,
  number,
  object,
  oneOf,
  optional,
  string,
  type Guard,
} from './guards';
import { common, commonEvents, header, targetShape, destination } from './panelCommonGuards';
import type * as P from './panels';
import {
  role,
  format,
  factors,
  shape,
  budget,
  override,
  error,
  progress,
  statistics,
  spectrum,
  preview,
  device,
  globs,
  compressRequest,
  sweepRequest,
  evaluateRequest,
  estimate,
  plan,
  compressReport,
  compareTensors,
  compareReport,
  problem,
  recipe,
  evaluateShape,
} from './panelValueGuards';

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
  option: optional(string),
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
    external: {
      params: object<{ file?: string }>({ file: optional(string) }),
      result: nullable(object<{ file: string; metric: P.Metric }>({ file: string, metric })),
    },
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
type Sweep = NonNullable<P.AllocationView['sweep']>;
const allocationView: Guard<P.AllocationView> = object<P.AllocationView>({
  header,
  canCompute: boolean,
  sweep: optional(
    object<Sweep>({
      recipe,
      rank: integer,
      options: integer,
      file: string,
      fisher: optional(string),
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
const curveQuery = object<P.AllocationRequests['curve'][0]>({ factors, overrides: array(override) });
export const allocationContract: Contract<P.AllocationRequests, P.AllocationEvents> = {
  requests: {
    ...common,
    load: { params: nothing, result: allocationView },
    plan: {
      params: object<P.AllocationRequests['plan'][0]>({ ...queryShape, quick: boolean }),
      result: object<P.PlanAnswer>({ plan, relativeError: measured }),
    },
    curve: {
      params: curveQuery,
      result: object<P.AllocationRequests['curve'][1]>({ points: array(planSummary) }),
    },
    whatIf: {
      params: curveQuery,
      result: object<P.WhatIf>({
        bits: array(number),
        rows: array(
          object<P.WhatIf['rows'][number]>({ rank: integer, file: string, plans: array(nullable(planSummary)) }),
        ),
      }),
    },
    choose: {
      params: object<P.AllocationRequests['choose'][0]>({ file: string, budget, overrides: array(override) }),
      result: allocationView,
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
  recipe: array(object<P.RecipeEntry>({ key: string, value: string, path: optional(string) })),
  weighting: optional(oneOf('plain', 'fisher')),
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
