/**
 * What a compression is made for. A target says which matrices the program decides about, which options its format has for
 * them and at what size, and writes what the program chose; the stages in between are the same for all.
 */
import type { Plan } from '../allocation/types';
import type { LogicalTensor } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import type { Piece } from '../decomposition/encoded';
import type { SecondPass } from '../decomposition/second-pass';
import type { Windows } from '../evaluation/windows';
import type { WritableFileSystem } from '../files/types';
import type { Opened } from '../opened';
import type { Option } from '../options/types';
import type { Stage } from '../progress';
import type { CompressRequest } from '../requests/requests';
import type { Metric } from '../sensitivity/metric';
import type { SweepTable } from '../sensitivity/types';
import type { Delivered } from './delivered';
import type { StoredModel } from './loads/stored';

export interface Target {
  /** The stages of its writing, in order. */
  readonly stages: readonly Stage[];
  /** Whether it can be written in layer order, each matrix on what the encoded ones before it give. */
  readonly layerOrder: boolean;
  /** Whether the program decides about the embedding and the head too: when it is asked to, always, or never. */
  readonly embeddings: 'asked' | 'always' | 'never';
  /**
   * Lays the output out, from headers alone.
   * @param options the method's
   * @throws LqError for what the format has no form for, by name; `no-targets` when it holds none of the matrices.
   */
  prepare(
    files: WritableFileSystem,
    found: Opened,
    options: readonly Option[],
    request: Pick<CompressRequest, 'factors' | 'splitSize'>,
  ): Promise<PreparedTarget>;
}

/** One checkpoint as a target will write it. */
export interface PreparedTarget {
  /** With those of the targets alone that the format holds. */
  readonly opened: Opened;
  /** What of the targets it does not hold, or holds at a price: a sentence each. */
  readonly notes: readonly string[];
  readonly sizes: Sizes;
  /** The output as it will read back. @param chosen options of the matrices that the program decides about */
  stored(chosen: ReadonlyMap<string, Option>): StoredModel;
  /**
   * The sweep's table as the program needs it: with rows for matrices that are no targets and that the format stores
   * quantised, with ties, and with exact sizes.
   * @param windows of the calibration text, where there is one
   */
  complete(
    context: PipelineContext,
    table: SweepTable,
    windows: (() => Promise<Windows>) | undefined,
  ): Promise<SweepTable>;
  /** The matrices of a plan as several workers can encode them (decomposition/encoded.ts); its writing takes what they did. */
  pieces(context: PipelineContext, job: Pick<WriteJob, 'table' | 'plan' | 'metric'>): readonly Piece[];
  /** Carries a plan out. Writes a folder, whole or not at all. */
  write(context: PipelineContext, job: WriteJob): Promise<Written>;
}

/** What an output takes, to the byte. */
export interface Sizes {
  /** Bytes that no option decides. */
  readonly kept: number;
  /** Of all that is written, where no plan changes it. */
  readonly fixed?: number;
  /** The matrices that the program decides about. */
  readonly matrices: readonly { readonly name: string; readonly rows: number; readonly cols: number }[];
  /** Bytes of a [rows, cols] matrix under an option; undefined: the format has none for it. */
  bytesOf(option: Option, rows: number, cols: number): number | undefined;
}

export interface WriteJob {
  readonly table: SweepTable;
  readonly plan: Plan;
  /** The one the table was measured under. */
  readonly metric: Metric;
  readonly secondPass?: SecondPass;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** Adds what a stage takes to its time. */
  timed<T>(stage: Stage, work: () => Promise<T>): Promise<T>;
}

export interface Written {
  /** As the budget counts them. */
  readonly bytes: number;
  readonly delivered: Delivered;
  /** Relative errors, ||W - W'|| / ||W|| under the metric. */
  readonly matrices: readonly { name: string; errorQuantized?: number; errorLq: number; errorStored: number }[];
}

/** For each matrix the first option that its format has for it: what a plan could be, for what does not depend on which. */
export function anyPlan({ matrices, bytesOf }: Sizes, options: readonly Option[]): Map<string, Option> {
  return new Map(
    matrices.flatMap(({ name, rows, cols }) => {
      const option = options.find(each => bytesOf(each, rows, cols) !== undefined);
      return option ? [[name, option] as const] : [];
    }),
  );
}

/** `kept` of sizes once the sweep has left out matrices that can be none: they stay, in `bytesAsIs` each. */
export function keptBeside(
  { kept }: Sizes,
  targets: readonly LogicalTensor[],
  table: SweepTable,
  bytesAsIs: (target: LogicalTensor) => number = ({ bytes }) => bytes,
): number {
  const swept = new Set(table.matrices.map(({ name }) => name));
  return targets.reduce((sum, target) => sum + (swept.has(target.name) ? 0 : bytesAsIs(target)), kept);
}
