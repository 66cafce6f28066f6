/**
 * What the engine (a child process, `extension/engine/main.ts`) can be asked, by the editor and the command line alike.
 * Read this file end to end to know the product's abilities. Requests and results are JSON; weights never travel.
 *
 * Transport: vscode-jsonrpc over the child's IPC channel. The first request is `handshake`; a version other than
 * PROTOCOL_VERSION is refused. Long requests report `progress` notifications under the id the caller chose, and stop within
 * a second of `$/cancelRequest`. When the process dies everything pending is rejected with `engine-died`.
 */
import type { Budget, FrontierPoint, Plan, PlanOverride } from '../core/allocation/types';
import type { ErrorData } from '../core/errors';
import type { FactorStorage, QuantConfig, SweepTable } from '../core/sensitivity/types';

export const PROTOCOL_VERSION = 1;

/** Settings of a job that every stage understands. */
export interface JobSettings {
  /** 'auto', 'cpu', 'cuda' (all of them) or 'cuda:N'. */
  device?: string;
  /** 0 or absent: all cores. */
  threads?: number;
  /** Folder of cached Fisher, sweep and statistics results. */
  cache?: string;
  seed?: number;
}

export interface DeviceReport {
  id: string;
  name: string;
  detail: string;
  memoryTotal: number;
  memoryFree: number;
}

export interface DoctorReport {
  version: string;
  node: string;
  platform: string;
  native: { path: string; version: number };
  devices: DeviceReport[];
  /** Libraries of an accelerator that were found, whether or not it can be used. */
  libraries: { name: string; path: string }[];
  /** What was looked for and not found, or found and not usable, one sentence each. */
  problems: string[];
  cache: { folder: string; bytes: number; entries: number };
}

export interface TensorStatistics {
  name: string;
  dtype: string;
  shape: number[];
  count: number;
  zeros: number;
  nans: number;
  infs: number;
  /** Flat index of the first NaN or Inf, -1 when there is none. */
  firstNan: number;
  firstInf: number;
  min: number;
  max: number;
  mean: number;
  stddev: number;
  absmax: number;
  kurtosis: number;
  /** Equal bins over [low, high]; `sampled` elements were counted (all of them unless the tensor is huge). */
  histogram: { low: number; high: number; counts: number[]; sampled: number };
  rowNorms: { min: number; max: number; mean: number; zero: number };
  colNorms: { min: number; max: number; mean: number; zero: number };
}

export interface SpectrumReport {
  name: string;
  /** Largest first; min(count, rows, cols) of them. */
  values: number[];
  /** Squared Frobenius norm: the energy of all of them. */
  energy: number;
  /** Smallest rank that keeps the given share of the energy, within `values`; -1 when none does. */
  rankFor: { share: number; rank: number }[];
  /** The knee of the spectrum as a power of two: worth trying as the low-rank part. 0 when there is no knee. */
  suggestedRank: number;
}

export interface PreviewReport {
  name: string;
  rows: number;
  cols: number;
  /** Row-major [rows, cols] cells. */
  minimum: number[];
  maximum: number[];
  mean: number[];
}

export interface FisherRequest extends JobSettings {
  model: string;
  calibration: string;
  samples?: number;
  context?: number;
  out: string;
  include?: string[];
  exclude?: string[];
}
export interface FisherReport {
  out: string;
  hash: string;
  samples: number;
  context: number;
  losses: number[];
  matrices: { name: string; sum: number; max: number }[];
  seconds: number;
}

export interface SweepRequest extends JobSettings {
  model: string;
  rank: number;
  fisher?: string;
  /** How D_row and D_col come from F. Default: the reference code's sqrt of means. */
  scales?: 'sqrt-of-means' | 'means-of-sqrt';
  iterations?: number;
  /** Iterations in a row without a better one that end the loop; 1 is the paper's rule. */
  patience?: number;
  include?: string[];
  exclude?: string[];
  /** Configurations; default the paper's 243. */
  grid?: QuantConfig[];
  out?: string;
}

export interface PlanRequest {
  /** A file written by `sweep`, or the table itself. */
  sweep: string | SweepTable;
  budget: Budget;
  factors?: FactorStorage;
  overrides?: PlanOverride[];
  /** True while a slider moves: answer in milliseconds with a rounded plan and its bound. */
  quick?: boolean;
}

export interface EvaluateRequest extends JobSettings {
  model: string;
  text: string;
  context?: number;
  windows?: number;
  bos?: boolean;
}
export interface EvaluateReport {
  model: string;
  text: string;
  perplexity: number;
  /** Tokens predicted. */
  tokens: number;
  windows: number;
  context: number;
  bos: boolean;
  seconds: number;
  device: string;
}

export interface CompressRequest extends JobSettings {
  model: string;
  out: string;
  budget: Budget;
  rank?: number;
  /** At most one of the three; `plain` ignores Fisher information. */
  calibration?: string;
  fisher?: string;
  plain?: boolean;
  samples?: number;
  scales?: 'sqrt-of-means' | 'means-of-sqrt';
  iterations?: number;
  /** Iterations in a row without a better one that end the loop; 1 is the paper's rule. */
  patience?: number;
  factors?: FactorStorage;
  evalText?: string;
  context?: number;
  windows?: number;
  include?: string[];
  exclude?: string[];
  overrides?: PlanOverride[];
  grid?: QuantConfig[];
  format?: 'packed' | 'dense';
  overwrite?: boolean;
  /** Also writes the table of costs there, as `sweep` would: other budgets can then be planned without measuring again. */
  sweepOut?: string;
}
/** One matrix of a finished compression. Errors are relative: ||W - W'|| / ||W||, weighted when Fisher was used. */
export interface CompressedMatrix {
  name: string;
  config: QuantConfig;
  rank: number;
  bits: number;
  effectiveBits: number;
  bytes: number;
  cost: number;
  errorQuantized: number;
  errorLq: number;
  errorStored: number;
}
export interface Measure {
  /** With the tokens predicted and the windows they lay in. */
  perplexity?: number;
  tokens?: number;
  windows?: number;
  /** Tensor bytes of the checkpoint. */
  bytes: number;
}
export interface CompressReport extends Omit<Plan, 'matrices' | 'seconds'> {
  model: string;
  output: string;
  recipe: Record<string, unknown>;
  /** The Fisher file that weighted the errors; one in the cache when it was computed here. */
  fisher?: string;
  matrices: CompressedMatrix[];
  before: Measure;
  after: Measure;
  seconds: Record<string, number>;
  warnings: string[];
}

export interface EstimateReport {
  matrices: number;
  parameters: number;
  seconds: { fisher: number; sweep: number; decompose: number; evaluate: number };
  peakMemory: number;
  outputBytes: number;
  /** Range of the chosen budget kind that can be met. */
  feasible: { minimum: number; maximum: number };
}

export interface ExportRequest extends JobSettings {
  model: string;
  format: string;
  out: string;
  overwrite?: boolean;
}
export interface ExportReport {
  out: string;
  files: string[];
  bytes: number;
  seconds: number;
}

export interface CompareReport {
  a: string;
  b: string;
  onlyA: string[];
  onlyB: string[];
  reshaped: { name: string; a: string; b: string }[];
  /** Relative error ||A - B|| / ||A|| of tensors both have, when values were asked for. */
  tensors: {
    name: string;
    shape: number[];
    formatA: string;
    formatB: string;
    relativeError?: number;
    maxAbsolute?: number;
  }[];
}

export interface HealthFinding {
  severity: 'error' | 'warning' | 'information';
  code: string;
  message: string;
  file?: string;
  tensor?: string;
}

/** Method name -> [request, result]. */
export interface EngineMethods {
  handshake: [{ version: number; client: string }, { version: number; engine: string; pid: number }];
  doctor: [JobSettings, DoctorReport];
  statistics: [JobSettings & { model: string; tensors?: string[]; bins?: number }, TensorStatistics[]];
  spectrum: [JobSettings & { model: string; tensor: string; count?: number }, SpectrumReport];
  preview: [JobSettings & { model: string; tensor: string; rows: number; cols: number }, PreviewReport];
  difference: [
    JobSettings & { a: string; b: string; tensor: string; rows: number; cols: number },
    { name: string; relativeError: number; maxAbsolute: number; rows: number; cols: number; mean: number[] },
  ];
  fisher: [FisherRequest, FisherReport];
  sweep: [SweepRequest, SweepTable];
  plan: [PlanRequest, Plan];
  /** The curve of error against size, and the range a budget kind can take. */
  frontier: [
    {
      sweep: string | SweepTable;
      kind: Budget['kind'];
      factors?: FactorStorage;
      overrides?: PlanOverride[];
      count?: number;
    },
    { points: FrontierPoint[]; range: { minimum: number; maximum: number } },
  ];
  estimate: [CompressRequest, EstimateReport];
  compress: [CompressRequest, CompressReport];
  evaluate: [EvaluateRequest, EvaluateReport];
  export: [ExportRequest, ExportReport];
  compare: [JobSettings & { a: string; b: string; values: boolean }, CompareReport];
  health: [JobSettings & { model: string }, HealthFinding[]];
}
export type EngineMethod = keyof EngineMethods;
export type EngineParams<M extends EngineMethod> = EngineMethods[M][0];
export type EngineResult<M extends EngineMethod> = EngineMethods[M][1];

export type Stage =
  'open' | 'fisher' | 'sweep' | 'plan' | 'decompose' | 'write' | 'evaluate' | 'statistics' | 'compare' | 'export';

/** Progress of a request. `partial` carries a finished piece (one tensor's statistics, one finding) as soon as it is known. */
export interface Progress {
  stage: Stage;
  /** The matrix or file at work. */
  item?: string;
  done: number;
  total: number;
  /** Estimated from the rate so far. */
  secondsLeft?: number;
  device?: string;
  partial?: unknown;
}

/** Engine to client. */
export interface EngineNotifications {
  progress: { request: number; progress: Progress };
  log: { level: 'info' | 'warning' | 'error'; message: string };
}

/** Error payload inside a JSON-RPC error response. */
export type EngineError = ErrorData;
