/**
 * What a panel (webview) and the host say to each other. Read end to end, this is everything a panel can show or ask for.
 *
 * Transport: `channel.ts` over postMessage. A panel sends requests; the host answers each exactly once, may report progress
 * on the way, and pushes events. The host checks every request by the schemas of `panelRequests.ts`.
 * Messages are JSON: a number that is not finite travels as null and reads as "not known". Weights never travel, only
 * down-sampled pictures and statistics. The first request of every panel is `load`.
 */
import type { Budget, PlanOverride } from '../core/options/budget';
import type { MeasuredPlan, PredictedPerplexity } from '../core/allocation/predict';
import type { Price } from '../core/allocation/prices';
import type { Plan } from '../core/allocation/types';
import type { CheckpointProblem, Role, StorageFormat } from '../core/checkpoint/types';
import type { FactorStorage } from '../core/options/types';
import type { MetricKind, SweepRecipe } from '../core/options/recipe';
import type { CompareReport, PreviewReport, SpectrumReport, TensorStatistics } from '../core/analysis/types';
import type { CompressReport, EstimateReport, MethodsReport } from '../core/reports';
import type { CompressRequest, EvaluateRequest, MethodsRequest, SweepRequest } from '../core/requests/requests';
import type { DeviceReport } from './engine';
import type { EvaluateReport } from '../core/evaluation/types';
import type { CommonEvents, CommonRequests, Destination, JobView, ModelHeader, TargetMatrix } from './panelCommon';

export * from './panelCommon';

// --- Checkpoint: the custom editor --------------------------------------------------------------------------------

export interface TensorRow {
  name: string;
  shape: number[];
  dtype: string;
  format: StorageFormat;
  role: Role;
  layer: number;
  parameters: number;
  bytes: number;
  bitsPerWeight: number;
  /** Index into CheckpointView.files. */
  file: number;
  /** Stored parts of a logical weight that is more than one tensor. */
  parts?: { name: string; dtype: string; shape: number[]; bytes: number }[];
}

/** All rows travel at once (10,000 are about 2 MB): searching and sorting then never wait. */
export interface CheckpointView {
  header: ModelHeader;
  /** False in Restricted Mode: values are then not computed. */
  canCompute: boolean;
  files: { path: string; name: string; bytes: number; tensors: number; missing: boolean }[];
  metadata: { file: string; key: string; value: string }[];
  problems: CheckpointProblem[];
  rows: TensorRow[];
  /** The tensor to select, when the panel was opened for one. */
  select?: string;
  /** Statistics already in the cache. */
  statistics: TensorStatistics[];
  /** The original of this one, or the compressed checkpoints made from it, newest first: the tensors' twins are in one. */
  twins: ModelHeader[];
}

/** One of several compressions of a checkpoint. */
export interface CompressionChoice {
  path: string;
  label: string;
  effectiveBits: number;
  /** The files of the original or of the result have changed since. */
  older: boolean;
}

/** The same matrix in the other checkpoint. */
export interface TensorTwin {
  model: string;
  name: string;
  /** The option for people. */
  option?: string;
  bits?: number;
  effectiveBits?: number;
  errorQuantized?: number;
  errorLq?: number;
  errorStored?: number;
  /** Mean of (this - twin) a cell, row-major. */
  difference: { rows: number; cols: number; mean: number[]; relativeError: number; maxAbsolute: number };
  preview: PreviewReport;
  /** Of the tensor there, for a histogram over this one's. */
  statistics: TensorStatistics;
}

export interface CheckpointRequests extends CommonRequests {
  load: [null, CheckpointView];
  /** Statistics of one tensor, which arrive as an event. */
  statistics: [{ tensor: string }, { computed: number }];
  /** Statistics of all tensors that have none: a job, absent when all are known; each arrives as an event as it comes. */
  allStatistics: [null, { job?: string }];
  spectrum: [{ tensor: string; count?: number }, SpectrumReport];
  preview: [{ tensor: string; rows: number; cols: number }, PreviewReport];
  /** The tensor in the checkpoint `model`; null where that keeps it as it is. */
  twin: [{ model: string; tensor: string; rows: number; cols: number }, TensorTwin | null];
}
export interface CheckpointEvents extends CommonEvents {
  statistics: TensorStatistics[];
  /** Select a tensor (clicked in the tree or another panel). */
  select: { tensor: string };
  /** The files changed on disk. */
  changed: CheckpointView;
}

// --- Compress: one form, then progress, then the result -----------------------------------------------------------

/** A compression the host runs; it outlives the panel. */
export interface JobState extends JobView {
  request: CompressRequest;
  report?: CompressReport;
}

/** What the panel is to show first: a job, or the form for a new compression. */
export type CompressShow = { job: string } | { form: CompressRequest };

/** Where a result can run: a format, and what of a request asks for it. */
export interface TargetChoice {
  id: string;
  label: string;
  /** The programs that read it. */
  readers: string;
  request: Pick<CompressRequest, 'for' | 'format'>;
  /** Ids of the methods that make it, the usual one first. */
  methods: string[];
  /** Whether embedding and head can be compressed, always are, or never. */
  embeddings: 'asked' | 'always' | 'never';
}

/** A set of options to choose from. */
export interface MethodChoice {
  id: string;
  label: string;
  description: string;
  source: string;
  /** Whether the low-rank part's ranks can be chosen. */
  ranked: boolean;
  /** The metrics it can be chosen under. */
  metrics: MetricKind[];
  secondPass: boolean;
}

export interface CompressView {
  header: ModelHeader;
  /** False in Restricted Mode. */
  canCompute: boolean;
  targets: TargetMatrix[];
  devices: DeviceReport[];
  consumers: TargetChoice[];
  methods: MethodChoice[];
  /** What the settings say of the paper's method: its rank, and its configurations where they are not the paper's. */
  paper: Pick<CompressRequest, 'ranks' | 'grid'>;
  /** What a new compression begins with: settings' defaults, what was started last, or a plan that was handed on. */
  form: CompressRequest;
  /** Compressions of this checkpoint, newest first. */
  jobs: JobState[];
  /** Asked for before the panel was there. */
  show?: CompressShow;
}

export interface CompressRequests extends CommonRequests {
  load: [null, CompressView];
  /** Quick: from shapes and this machine's measured rates, no weights are read. */
  estimate: [CompressRequest, EstimateReport];
  /** Which targets the globs select. */
  match: [{ include?: string[]; exclude?: string[] }, { names: string[]; parameters: number }];
  /** Starts a compression; asked twice for the same, the one that runs answers. */
  start: [CompressRequest, JobState];
}
export interface CompressEvents extends CommonEvents {
  /** A compression of this checkpoint changed. */
  job: JobState;
  /** Compressions came or went. */
  changed: CompressView;
  show: CompressShow;
}

// --- Heatmap ------------------------------------------------------------------------------------------------------

export interface HeatCell {
  name: string;
  /** Index into HeatmapView.rows. */
  row: number;
  /** Index into HeatmapView.layers. */
  column: number;
  shape: number[];
}

export type MetricId =
  | 'bits'
  | 'effective-bits'
  | 'rank'
  | 'error'
  | 'relative-error'
  | 'low-rank-gain'
  | 'fisher-mass'
  | 'absmax'
  | 'stddev'
  | 'kurtosis'
  | 'zeros'
  | `external:${string}`;

export interface Metric {
  id: MetricId;
  label: string;
  /** Such as `bits per weight`; empty for a pure number. */
  unit: string;
  /** One sentence: what is measured. */
  about: string;
  /** Sequential from the background to one hue, or diverging around zero. */
  scale: 'sequential' | 'diverging';
  /** Whether a logarithmic scale suits it at first. */
  log: boolean;
  /** `ready`: cached. `compute`: takes a moment. Otherwise the sentence that says what is needed first. */
  status: 'ready' | 'compute' | { needs: string; action?: Destination };
}

export interface HeatmapView {
  header: ModelHeader;
  /** The other side: the compressed checkpoint of an original, or the original of a compressed one. */
  compressed?: ModelHeader;
  /** All compressions that can be shown beside the original. */
  compressions: CompressionChoice[];
  /** Labels of the rows, such as `q` or `expert 3 gate`. */
  rows: string[];
  layers: number[];
  cells: HeatCell[];
  metrics: Metric[];
  metric: MetricId;
}

/** A value a cell in the order of HeatmapView.cells. null: not known; 'nan': the tensor's own value is NaN or infinite. */
export type HeatValue = number | 'nan' | null;
export interface HeatValues {
  metric: MetricId;
  original?: HeatValue[];
  compressed?: HeatValue[];
}

/** What a compression gave a matrix, and how that compares with what the others got. */
export interface GivenOption {
  option: string;
  bits: number;
  effectiveBits: number;
  bytes: number;
  /** Shares of all compressed matrices' bytes, and of their error under the metric. */
  sizeShare: number;
  costShare: number;
  /** Relative error as stored, under the compression's metric. */
  error: number;
  /** How many of the matrices got more bits a weight. */
  above: number;
  of: number;
}

/** One matrix in the detail pane. */
export interface HeatMatrix {
  tensor: string;
  /** When they are known already. */
  statistics?: TensorStatistics;
  given?: GivenOption;
}

export interface HeatmapRequests extends CommonRequests {
  load: [null, HeatmapView];
  /** Shows another compression beside the original. */
  choose: [{ compressed: string }, HeatmapView];
  matrix: [{ tensor: string }, HeatMatrix];
  /** Of the original's matrix. */
  statistics: [{ tensor: string }, TensorStatistics];
  spectrum: [{ tensor: string; count: number }, SpectrumReport];
  values: [{ metric: MetricId }, HeatValues];
  /** Reads a JSON file of { tensor or layer name: number }, asking for it when none is named; null when dismissed. */
  external: [{ file?: string }, { file: string; metric: Metric } | null];
}
export interface HeatmapEvents extends CommonEvents {
  /** Pieces of a running `values` request. */
  values: HeatValues;
  changed: HeatmapView;
}

// --- Allocation ---------------------------------------------------------------------------------------------------

export interface PlanSummary {
  budget: Budget;
  bits: number;
  effectiveBits: number;
  bytes: number;
  objective: number;
  /** sqrt(objective / (weighted) squared norm of all matrices). */
  relativeError: number;
  /** The perplexity it would have, where runs of the checkpoint tell. */
  predicted?: PredictedPerplexity;
}

/** What perplexities are predicted from. */
export interface PlanPrediction {
  /** Perplexity of the original. */
  dense: number;
  /** The compressions that were evaluated, by the names of what they made. */
  plans: (MeasuredPlan & { bytes: number; label: string })[];
  /** The text they were measured on. */
  text: string;
}

export interface AllocationView {
  header: ModelHeader;
  canCompute: boolean;
  /** Absent: nothing has been swept yet, the panel offers to. */
  sweep?: {
    recipe: SweepRecipe;
    options: number;
    /** The method they are of, for people. */
    method: string;
    /** Bits a weight of the smallest and of the largest of them, factors aside. */
    bits: { least: number; most: number };
    /** The largest rank among them. */
    rank: number;
    /** The table of costs. */
    file: string;
    /** The Fisher information it is weighted by, for another sweep under the same. */
    fisher?: string;
    device: string;
    seconds: number;
    /** Milliseconds since 1970. */
    date?: number;
    targets: (TargetMatrix & { norm: number; weightedNorm: number })[];
  };
  factors: FactorStorage;
  budget: Budget;
  overrides: PlanOverride[];
  /** Costs were measured before the files changed: they are of no use now. */
  older?: boolean;
  /** The plans of the compressions made, newest first: one is marked on the slider by the name of what it made. */
  currents: (PlanSummary & { name: string })[];
  /** Perplexities measured with plans of this table's ranks, drawn on the curve of the rules they were made under. */
  measured: { effectiveBits: number; bytes: number; perplexity: number; label: string; overrides: PlanOverride[] }[];
  /** Absent: no run of this table's options was evaluated, and plans predict no perplexity. */
  prediction?: PlanPrediction;
}

export interface PlanQuery {
  budget: Budget;
  factors: FactorStorage;
  overrides: PlanOverride[];
}
export interface PlanAnswer {
  plan: Plan;
  relativeError: number;
  /** What a step up or down would bring each matrix; of plans that were solved to the end. */
  prices?: Price[];
}

/** What other methods, ranks and budgets would give, from every table of costs that can be held against the one shown. */
export interface WhatIf {
  /** Everything stored, over the weights. */
  effectiveBits: number[];
  /** By method and ascending rank; a plan a budget, null where it cannot be met. */
  rows: { label: string; rank: number; file: string; plans: (PlanSummary | null)[] }[];
}

export interface AllocationRequests extends CommonRequests {
  load: [null, AllocationView];
  /** `quick` while the slider moves: answered in milliseconds; without it the plan is solved to the end. */
  plan: [PlanQuery & { quick: boolean }, PlanAnswer];
  /** Points along the whole range in ascending size; the first and the last are the least and the most that can be met. */
  curve: [Omit<PlanQuery, 'budget'>, { points: PlanSummary[] }];
  /** Takes the plan into the compress form. */
  use: [PlanQuery, null];
  whatIf: [Omit<PlanQuery, 'budget'>, WhatIf];
  /** Plans from another table of this checkpoint, beginning with a budget and the rules at hand. */
  choose: [{ file: string; budget: Budget; overrides: PlanOverride[] }, AllocationView];
  /** Measures all costs: a job, which `jobs` tells of; `changed` brings what it found. */
  sweep: [SweepRequest, { job: string }];
}
export interface AllocationEvents extends CommonEvents {
  changed: AllocationView;
}

// --- Perplexity ---------------------------------------------------------------------------------------------------

interface RecipeEntry {
  key: string;
  value: string;
  /** What to open when it is clicked. */
  path?: string;
}

export interface PerplexityRun extends EvaluateReport {
  id: string;
  /** The job it comes of. */
  job: string;
  /** The files it was measured on have changed since. */
  older?: boolean;
  label: string;
  /** True for the uncompressed model. */
  dense: boolean;
  /** Over the target weights; the dtype's own bits for the dense model. */
  bits: number;
  effectiveBits: number;
  bytes: number;
  /** Milliseconds since 1970. */
  date: number;
  /** Everything needed to make it again, in the order worth reading. */
  recipe: RecipeEntry[];
  /** How errors were weighted; absent for the dense model. */
  weighting?: MetricKind;
  /** The request that made it, when it was compressed here. */
  request?: CompressRequest;
}

export interface PerplexityView {
  header: ModelHeader;
  canCompute: boolean;
  runs: PerplexityRun[];
  /** Checkpoints that can be evaluated: the original and what was made from it. */
  models: { path: string; label: string }[];
  /** Last used or suggested. */
  text?: string;
  context: number;
}

export interface PerplexityRequests extends CommonRequests {
  load: [null, PerplexityView];
  /** Evaluates: a job, which `jobs` tells of; its run has the job's id and comes with `changed`. */
  evaluate: [EvaluateRequest, { job: string }];
  /** Forgets a run; no file is touched. */
  forget: [{ id: string }, null];
}
export interface PerplexityEvents extends CommonEvents {
  changed: PerplexityView;
}

// --- Methods ------------------------------------------------------------------------------------------------------

export interface MethodsView {
  header: ModelHeader;
  canCompute: boolean;
  /** What can be compared, in the registry's order. */
  methods: { id: string; label: string; source: string; description: string }[];
  /** Comparisons of this checkpoint's files as they are, newest first. */
  comparisons: { job: string; date: number; request: MethodsRequest; report: MethodsReport }[];
  /** To begin with: the last request on this checkpoint, or what other panels used. */
  form: Pick<MethodsRequest, 'effectiveBits' | 'samples' | 'context' | 'windows'> & {
    calibration?: string;
    evalText?: string;
  };
}

export interface MethodsRequests extends CommonRequests {
  load: [null, MethodsView];
  /** Compresses with every chosen method: a job, whose result comes with `changed`. */
  start: [MethodsRequest, { job: string }];
}
export interface MethodsEvents extends CommonEvents {
  changed: MethodsView;
}

// --- Compare ------------------------------------------------------------------------------------------------------

export interface CompareView {
  a?: ModelHeader;
  b?: ModelHeader;
  canCompute: boolean;
}

export interface CompareRequests extends CommonRequests {
  load: [null, CompareView];
  /** Chooses a side by path; an absent path asks the user. */
  choose: [{ side: 'a' | 'b'; path?: string }, CompareView];
  /** What the headers say, with the values of the last comparison of these very files when there is one. */
  structure: [null, CompareReport];
  /** Reads the weights of both: a job; finished tensors arrive as `tensors` events. */
  values: [null, { job: string }];
}
export interface CompareEvents extends CommonEvents {
  tensors: CompareReport['tensors'];
  changed: CompareView;
}

// --- All of it ----------------------------------------------------------------------------------------------------

export interface Panels {
  checkpoint: { requests: CheckpointRequests; events: CheckpointEvents };
  compress: { requests: CompressRequests; events: CompressEvents };
  heatmap: { requests: HeatmapRequests; events: HeatmapEvents };
  allocation: { requests: AllocationRequests; events: AllocationEvents };
  perplexity: { requests: PerplexityRequests; events: PerplexityEvents };
  compare: { requests: CompareRequests; events: CompareEvents };
  methods: { requests: MethodsRequests; events: MethodsEvents };
}
