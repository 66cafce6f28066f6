/** What a format of export is. */
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import type { FloatType } from '../requests/requests';
import type { Delivered } from './delivered';

export interface ExportContext {
  readonly pipeline: PipelineContext;
  /** What is exported: packed or dense. */
  readonly index: CheckpointIndex;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** The float type that weights are written in; undefined: that of the original. */
  readonly dtype?: FloatType;
  /** Bytes of a file, where it is to be several. */
  readonly splitSize?: number;
}

export interface Exporter {
  readonly id: string;
  readonly label: string;
  readonly description: string;
  /** Whether its float type can be chosen. */
  readonly dtypes?: true;
  /** Whether its file can be split. */
  readonly splits?: true;
  /** Whether it has a form for what a checkpoint holds, as far as headers say: menus leave it out otherwise. */
  accepts(index: CheckpointIndex): boolean;
  /** Makes the folder, whole or not at all. `bytes` counts tensors. */
  run(context: ExportContext): Promise<Exported>;
}

export interface Exported {
  readonly out: string;
  readonly files: string[];
  readonly bytes: number;
  readonly delivered: Delivered;
}
