/** File names shared by every folder export: outputs are sharded like their source. */
import { baseName } from '../format';
import { INDEX_SUFFIX } from './shard-index';
import type { CheckpointIndex } from './types';

/** A shard's path relative to the checkpoint's folder. */
export function shardName(source: CheckpointIndex, file: string): string {
  return file.startsWith(source.folder) ? file.slice(source.folder.length).replace(/^[\\/]+/, '') : baseName(file);
}

/** The shard index's path, for a checkpoint that has one. */
export function indexFileOf(source: CheckpointIndex): string | undefined {
  return source.file.endsWith(INDEX_SUFFIX) ? source.file : undefined;
}
