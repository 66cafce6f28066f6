/** What can be asked of the pipeline. */
import type { PlanOverride } from '../allocation/types';
import type { QuantConfig } from '../native';
import type { Budget } from '../options/budget';
import type { MetricKind } from '../options/recipe';
import type { FactorStorage } from '../options/types';
import type { SweepTable } from '../sensitivity/types';

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

export interface FisherRequest extends JobSettings {
  model: string;
  calibration: string;
  samples?: number;
  context?: number;
  out: string;
  include?: string[];
  exclude?: string[];
}

/** What a matrix may become, and what its errors are weighed with. */
export interface MethodRequest {
  /** Name of a method, see core/options/methods. */
  method?: string;
  /** Default: the first of the method's for which there are statistics. */
  metric?: MetricKind;
  /** Ranks of the low-rank part to choose from. */
  ranks?: number[];
  /** Configurations of the paper's set; default all 243. */
  grid?: QuantConfig[];
  /** Bits of a trellis state: 12, 14 or 16. */
  states?: number;
  /** Whether trellis sequences bite their tails. */
  tailBiting?: boolean;
}

export interface SweepRequest extends JobSettings, MethodRequest {
  model: string;
  /** A file of Fisher information, with second moments for K-FAC. */
  fisher?: string;
  /** How D_row and D_col come from F. Default: the reference code's sqrt of means. */
  scales?: 'sqrt-of-means' | 'means-of-sqrt';
  iterations?: number;
  /** Iterations in a row without a better one that end the loop; 1 is the paper's rule. */
  patience?: number;
  include?: string[];
  exclude?: string[];
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

export interface CompressRequest extends JobSettings, MethodRequest {
  model: string;
  out: string;
  budget: Budget;
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
  format?: 'packed' | 'dense';
  overwrite?: boolean;
  /** Also writes the table of costs there, as `sweep` would: other budgets can then be planned without measuring again. */
  sweepOut?: string;
}

export interface ExportRequest extends JobSettings {
  model: string;
  format: string;
  out: string;
  overwrite?: boolean;
}

export interface FrontierRequest {
  sweep: string | SweepTable;
  kind: Budget['kind'];
  factors?: FactorStorage;
  overrides?: PlanOverride[];
  count?: number;
}
