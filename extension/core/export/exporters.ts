/**
 * The formats a checkpoint can be exported to. A new one is a folder beside `dense` and a line here; command line, engine
 * and editor list what is registered.
 */
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { LqError } from '../errors';
import { dense } from './dense/exporter';
import { packed } from './packed/exporter';

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
  /** Makes the folder, whole or not at all. `bytes` counts tensors. */
  run(context: ExportContext): Promise<{ out: string; files: string[]; bytes: number }>;
}

export const exporters: readonly Exporter[] = [packed, dense];

/** Throws `usage` for a format that does not exist, naming those that do. */
export function findExporter(id: string): Exporter {
  const found = exporters.find(exporter => exporter.id === id);
  if (found) return found;
  const known = exporters.map(exporter => exporter.id).join(', ');
  throw new LqError('usage', `There is no export format ${JSON.stringify(id)}; there are ${known}.`);
}
