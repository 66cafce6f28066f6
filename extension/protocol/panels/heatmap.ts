/** Heatmap. */
import type { SpectrumReport, TensorStatistics } from '../../core/analysis/types';
import type { CommonEvents, CommonRequests, Destination, ModelHeader } from '../panelCommon';
import type { CompressionChoice } from './checkpoint';

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
