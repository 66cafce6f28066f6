/** `*.safetensors.index.json`: which shard holds which tensor. */
import { LqError } from '../errors';
import { JsonCursor } from './json';
import { folderOf, isContained, joinPath } from '../files/paths';
import { baseName } from '../format';
import { quoteName } from '../text';
import { compareNatural } from './order';
import type { FileSystem } from '../files/types';

export interface ShardIndex {
  /** Absolute path of the index. */
  readonly file: string;
  /** Tensor name to shard name, relative to the index's folder. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** Shard names in natural order. */
  readonly shards: readonly string[];
  /** metadata.total_size: bytes of all tensors, when stated. */
  readonly totalSize?: number;
}

export const INDEX_SUFFIX = '.safetensors.index.json';

/** @throws LqError 'index-json' for anything but an object whose weight_map names files inside the folder. */
export async function readShardIndex(files: FileSystem, file: string): Promise<ShardIndex> {
  return parseShardIndex(await files.readText(file), file);
}

export function parseShardIndex(text: string, file: string): ShardIndex {
  const fail = (message: string, tensor?: string): LqError =>
    new LqError('index-json', `${baseName(file)}: ${message}`, { file, ...(tensor !== undefined && { tensor }) });
  const json = new JsonCursor(text, (_, message) => fail(message));
  let weightMap: Map<string, string> | undefined;
  let totalSize: number | undefined;
  json.object(key => {
    if (key === 'weight_map') {
      if (weightMap) throw fail('weight_map appears twice');
      weightMap = readWeightMap(json, fail);
    } else if (key === 'metadata' && json.peek() === '{') {
      json.object(field => {
        // Some writers store the size as a float or a string; a figure that is only compared is not worth refusing.
        if (field === 'total_size' && /\d/.test(json.peek())) totalSize = json.number();
        else json.skip();
      });
    } else json.skip();
  });
  json.end();
  if (!weightMap) throw fail('weight_map is missing');
  const shards = [...new Set(weightMap.values())].sort(compareNatural);
  return { file, weightMap, shards, ...(totalSize !== undefined && { totalSize }) };
}

function readWeightMap(json: JsonCursor, fail: (message: string, tensor?: string) => LqError): Map<string, string> {
  const weightMap = new Map<string, string>();
  json.object(tensor => {
    const shard = json.string();
    if (weightMap.has(tensor)) throw fail(`${quoteName(tensor)} is listed twice`, tensor);
    if (!isContained(shard)) throw fail(`${quoteName(tensor)} is in ${quoteName(shard)}, outside the folder`, tensor);
    weightMap.set(tensor, shard);
  });
  return weightMap;
}

/**
 * The index that a shard belongs to, looked for beside it. A damaged index is passed over: the shard can still be opened.
 * @returns the path of the index, or undefined when no index names the shard.
 */
export async function findCheckpointOf(files: FileSystem, shardPath: string): Promise<string | undefined> {
  const folder = folderOf(shardPath);
  const shard = baseName(shardPath);
  const candidates = (await files.list(folder)).filter(name => name.endsWith(INDEX_SUFFIX)).sort(compareNatural);
  for (const name of candidates) {
    try {
      const index = await readShardIndex(files, joinPath(folder, name));
      if (index.shards.includes(shard)) return index.file;
    } catch (error) {
      if (!(error instanceof LqError && error.code === 'index-json')) throw error;
    }
  }
  return undefined;
}
