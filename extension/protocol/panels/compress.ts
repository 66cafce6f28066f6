/** Compress: one form, then progress, then the result. */
import type { MetricKind } from '../../core/options/recipe';
import type { CompressReport, EstimateReport } from '../../core/reports';
import type { CompressRequest } from '../../core/requests/requests';
import type { DeviceReport } from '../engine';
import type { CommonEvents, CommonRequests, JobView, ModelHeader, TargetMatrix } from '../panelCommon';

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
