/**
 * What the engine (a child process, `extension/engine/main.ts`) can be asked, by the editor and the command line alike.
 * Read this file end to end to know the product's abilities. Requests and results are JSON; weights never travel.
 *
 * Transport: vscode-jsonrpc over the child's IPC channel. The first request is `handshake`; a version other than
 * PROTOCOL_VERSION is refused. Long requests report `progress` notifications under the id the caller chose, and stop within
 * a second of `$/cancelRequest`. When the process dies everything pending is rejected with `engine-died`.
 */
import type { FrontierReport, Plan } from '../core/allocation/types';
import type {
  CompareReport,
  DifferenceReport,
  HealthFinding,
  PreviewReport,
  SpectrumReport,
  TensorStatistics,
} from '../core/analysis/types';
import type {
  CompareRequest,
  DifferenceRequest,
  HealthRequest,
  PreviewRequest,
  SpectrumRequest,
  StatisticsRequest,
} from '../core/requests/requests';
import type { EvaluateReport } from '../core/evaluation/types';
import type { Progress } from '../core/progress';
import type { CompressReport, EstimateReport, ExportReport, MethodsReport } from '../core/reports';
import type {
  CalibrateRequest,
  CompressRequest,
  CompressShardRequest,
  EvaluateRequest,
  ExportRequest,
  FisherRequest,
  FrontierRequest,
  JobSettings,
  MethodsRequest,
  PlanRequest,
  SweepRequest,
  SweepShardRequest,
} from '../core/requests/requests';
import type { CalibrationReport, FisherReport, ShardReport, SweepTable } from '../core/sensitivity/types';

export const PROTOCOL_VERSION = 1;

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

/** Method name -> [request, result]. */
interface EngineMethods {
  handshake: [{ version: number; client: string }, { version: number; engine: string; pid: number }];
  doctor: [JobSettings, DoctorReport];
  statistics: [StatisticsRequest, TensorStatistics[]];
  spectrum: [SpectrumRequest, SpectrumReport];
  preview: [PreviewRequest, PreviewReport];
  difference: [DifferenceRequest, DifferenceReport];
  fisher: [FisherRequest, FisherReport];
  calibrate: [CalibrateRequest, CalibrationReport];
  sweep: [SweepRequest, SweepTable];
  /** One worker's part of a sweep that several share by their cache. */
  sweepShard: [SweepShardRequest, ShardReport];
  /** One worker's part of a compression, all but its output. */
  compressShard: [CompressShardRequest, ShardReport];
  plan: [PlanRequest, Plan];
  /** The curve of error against size, and the range a budget kind can take. */
  frontier: [FrontierRequest, FrontierReport];
  estimate: [CompressRequest, EstimateReport];
  compress: [CompressRequest, CompressReport];
  /** Every method on one model at equal exported bits. */
  methods: [MethodsRequest, MethodsReport];
  evaluate: [EvaluateRequest, EvaluateReport];
  export: [ExportRequest, ExportReport];
  compare: [CompareRequest, CompareReport];
  health: [HealthRequest, HealthFinding[]];
}
export type EngineMethod = keyof EngineMethods;
export type EngineParams<M extends EngineMethod> = EngineMethods[M][0];
export type EngineResult<M extends EngineMethod> = EngineMethods[M][1];

/** Engine to client. */
export interface EngineNotifications {
  progress: { request: number; progress: Progress };
  log: { level: 'info' | 'warning' | 'error'; message: string };
}
