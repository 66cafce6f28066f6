/** What a format of export is. */
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';

export interface ExportContext {
  readonly pipeline: PipelineContext;
  /** What is exported: packed or dense. */
  readonly index: CheckpointIndex;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
}

export interface Exporter {
  readonly id: string;
  readonly label: string;
  readonly description: string;
  /** Whether it has a form for what a checkpoint holds, as far as headers say: menus leave it out otherwise. */
  accepts(index: CheckpointIndex): boolean;
  /** Makes the folder, whole or not at all. `bytes` counts tensors. */
  run(context: ExportContext): Promise<{ out: string; files: string[]; bytes: number }>;
}
