/** Opening a checkpoint: headers and small JSON files are read, weights are not. */
import { LqError } from '../errors';
import { readPacked } from '../packed/reader';
import { readDescriptors } from '../checkpoint/formats/descriptors';
import { ggufConfig } from '../checkpoint/gguf/config';
import { openGguf } from '../checkpoint/gguf/open';
import type { GgufMetadata } from '../checkpoint/gguf/values';
import { logicalTensors } from './logical';
import { unknownAdapter, unknownLayouts } from './unknown';
import { compareNatural } from '../checkpoint/order';
import { folderOf, joinPath, trimPath } from '../files/paths';
import { baseName } from '../format';
import { collapseRepeated } from '../checkpoint/repeated';
import { readConfigFile } from '../checkpoint/config-json';
import { hubRepository } from '../files/hub-cache';
import { quoteName } from '../text';
import { CONFIG_FILES, expectedShards, FILE_SUFFIX, locate, remarksBeside, type Source } from './locate';
import { readHeader, type SafetensorsHeader } from '../checkpoint/safetensors';
import { readShardIndex, type ShardIndex } from '../checkpoint/shard-index';
import type { CheckpointIndex, CheckpointProblem, ShardInfo, TensorInfo } from '../checkpoint/types';
import type { FileSystem } from '../files/types';

/**
 * Opens a safetensors file (only that file), a `*.safetensors.index.json` with its shards, a Hugging Face folder, the
 * config.json within one, a repository of the hub's cache, or a GGUF file with the other parts when it is split. `path` is
 * absolute.
 *
 * A shard that is missing or damaged becomes a problem of the index and the rest is still there; a single file that is
 * damaged is an error.
 * @throws LqError 'file-not-found', 'not-a-checkpoint', 'index-json', 'io', and for single files those of `readHeader`.
 */
export async function openCheckpoint(files: FileSystem, path: string): Promise<CheckpointIndex> {
  const source = await locate(files, trimPath(path));
  const problems: CheckpointProblem[] = [];
  // A GGUF file describes its model itself; a config.json beside it is another checkpoint's.
  const configs = Promise.all(
    source.kind === 'gguf'
      ? []
      : CONFIG_FILES.map(name => readConfig(files, joinPath(folderOf(source.file), name), problems)),
  );
  const contents = await readContents(files, source, problems);
  const [ownConfig, adapterConfig] = await configs;

  const tensors = contents.tensors.sort((a, b) => compareNatural(a.name, b.name));
  const byName = new Map(tensors.map(tensor => [tensor.name, tensor]));
  const descriptors = await readDescriptors(files, tensors, problems);
  const { metadata } = contents;
  const config = metadata ? ggufConfig(metadata, { byName, descriptors, file: source.file }) : ownConfig;
  const index = {
    path: trimPath(path),
    file: source.file,
    folder: folderOf(source.file),
    label: labelOf(source.file),
    shards: contents.shards,
    tensors,
    byName,
    ...(config && { config }),
    ...(adapterConfig && { adapterConfig }),
    ...(metadata && { gguf: metadata }),
    descriptors,
    problems,
    bytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
  };
  const logical = logicalTensors(index);
  const parameters = logical.reduce((sum, tensor) => sum + tensor.parameters, 0);
  const checkpoint = { ...index, parameters };
  problems.push(...unknownLayouts(index, logical), ...unknownAdapter(index, logical), ...packedProblems(checkpoint));
  // Who opens one file means that file.
  if (source.file !== index.path) problems.push(...(await remarksBeside(files, source, usedNames(checkpoint))));
  return { ...checkpoint, problems: collapseRepeated(problems) };
}

/** Shards by their names relative to the folder, with slashes. */
function usedNames(index: CheckpointIndex): Set<string> {
  const relative = (file: string): string => file.slice(index.folder.length + 1).replaceAll('\\', '/');
  return new Set(index.shards.map(({ file }) => relative(file).replace(/(^|\/)(?:\.\/)+/g, '$1')));
}

/** What keeps a packed checkpoint of ours from being used; looking at its parts is still possible. */
function packedProblems(index: CheckpointIndex): CheckpointProblem[] {
  try {
    readPacked(index);
    return [];
  } catch (error) {
    return [{ severity: 'error', ...LqError.from(error).toJSON() }];
  }
}

interface Contents {
  shards: ShardInfo[];
  tensors: TensorInfo[];
  /** Of a GGUF file. */
  metadata?: GgufMetadata;
}

function readContents(files: FileSystem, source: Source, problems: CheckpointProblem[]): Promise<Contents> {
  switch (source.kind) {
    case 'file':
      return openFile(files, source.file);
    case 'index':
    case 'shards':
      return openShards(files, source, problems);
    case 'gguf':
      return openGguf(files, source.file, problems);
  }
}

async function openFile(files: FileSystem, file: string): Promise<Contents> {
  try {
    const { header, shard } = await openShard(files, file);
    return { shards: [shard], tensors: [...header.tensors] };
  } catch (error) {
    // A file of another name was never said to be one.
    if (file.toLowerCase().endsWith(FILE_SUFFIX) || !(error instanceof LqError && error.code.startsWith('header-')))
      throw error;
    throw new LqError('not-a-checkpoint', error.message, { file });
  }
}

async function openShard(files: FileSystem, file: string): Promise<{ header: SafetensorsHeader; shard: ShardInfo }> {
  const header = await readHeader(files, file);
  const { headerBytes, metadata, tensors, fileBytes } = header;
  return { header, shard: { file, bytes: fileBytes, headerBytes, metadata, tensors: tensors.length } };
}

/** Shards put together by their names: what an index would say is taken from their headers. */
function namedShards(file: string, shards: readonly string[]): ShardIndex {
  return { file, weightMap: new Map(), shards: expectedShards(shards) };
}

async function openShards(files: FileSystem, source: Source, problems: CheckpointProblem[]): Promise<Contents> {
  const { file, shards } = source;
  const index = shards ? namedShards(file, shards) : await readShardIndex(files, file);
  const folder = folderOf(file);
  const opened = await Promise.all(
    index.shards.map(async name => {
      const path = joinPath(folder, name);
      try {
        return { name, ...(await openShard(files, path)) };
      } catch (error) {
        return { name, failure: LqError.from(error), shard: await unreadableShard(files, path, name, index) };
      }
    }),
  );

  const tensors = new Map<string, TensorInfo>();
  const unreadable = new Set<string>();
  for (const { name, shard, ...result } of opened) {
    if ('failure' in result) {
      unreadable.add(name);
      problems.push(shardFailure(result.failure, shard, name));
      continue;
    }
    for (const tensor of result.header.tensors) addTensor(tensor, name, tensors, index, problems);
  }
  for (const [tensor, name] of index.weightMap) {
    if (!tensors.has(tensor) && !unreadable.has(name)) {
      const message = `${quoteName(tensor)} is not in ${name}, where the index has it`;
      problems.push({ severity: 'error', code: 'shard-disagrees', message, file: joinPath(folder, name), tensor });
    }
  }
  if (!shards && index.weightMap.size === 0) {
    problems.push({ severity: 'warning', code: 'index-json', message: `${baseName(file)} lists no tensor`, file });
  }
  const bytes = [...tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0);
  if (index.totalSize !== undefined && index.totalSize !== bytes && unreadable.size === 0) {
    const message = `the index states ${index.totalSize} bytes of tensors, the shards hold ${bytes}`;
    problems.push({ severity: 'warning', code: 'shard-disagrees', message, file });
  }
  return { shards: opened.map(({ shard }) => shard), tensors: [...tensors.values()] };
}

async function unreadableShard(files: FileSystem, file: string, name: string, index: ShardIndex): Promise<ShardInfo> {
  const stat = await files.stat(file);
  const expected = [...index.weightMap.values()].filter(shard => shard === name).length;
  const shard = { file, bytes: stat?.bytes ?? 0, headerBytes: 0, metadata: {}, tensors: expected };
  return stat ? shard : { ...shard, missing: true };
}

function shardFailure(failure: LqError, shard: ShardInfo, name: string): CheckpointProblem {
  const where = { file: shard.file, ...(failure.tensor !== undefined && { tensor: failure.tensor }) };
  return shard.missing
    ? {
        severity: 'error',
        code: 'shard-missing',
        message: `${name} is missing; the index has ${shard.tensors} tensor${shard.tensors === 1 ? '' : 's'} in it`,
        ...where,
      }
    : { severity: 'error', code: failure.code, message: prefixed(name, failure.message), ...where };
}

const prefixed = (name: string, message: string): string =>
  message.startsWith(baseName(name)) ? message : `${name}: ${message}`;

/** Adds a shard's tensor; of a duplicate the copy in the shard that the index names is kept. */
function addTensor(
  tensor: TensorInfo,
  shard: string,
  tensors: Map<string, TensorInfo>,
  index: ShardIndex,
  problems: CheckpointProblem[],
): void {
  const { name, file } = tensor;
  const other = tensors.get(name);
  const listed = index.weightMap.get(name);
  if (other) {
    const message = `${quoteName(name)} is in ${baseName(other.file)} and in ${shard}`;
    problems.push({ severity: 'error', code: 'duplicate-tensor', message, file, tensor: name });
  } else if (listed !== shard && index.weightMap.size > 0) {
    const where = listed === undefined ? 'which the index does not list' : `the index has it in ${listed}`;
    const message = `${shard} holds ${quoteName(name)}, ${where}`;
    problems.push({ severity: 'warning', code: 'shard-disagrees', message, file, tensor: name });
  }
  if (!other || listed === shard) tensors.set(name, tensor);
}

async function readConfig(
  files: FileSystem,
  file: string,
  problems: CheckpointProblem[],
): Promise<Record<string, unknown> | undefined> {
  if (!(await files.stat(file))) return undefined;
  try {
    return await readConfigFile(files, file);
  } catch (error) {
    const { code, message } = LqError.from(error);
    if (code !== 'config-json') throw error;
    problems.push({ severity: 'warning', code, message, file });
    return undefined;
  }
}

/** A model is called by its folder, as on the Hub; a file with a name of its own by that name. */
function labelOf(file: string): string {
  const name = baseName(file);
  const usual = /^(?:adapter_|lq-|diffusion_pytorch_)?model\.safetensors(?:\.index\.json)?$/i.test(name);
  const hub = hubRepository(file);
  // A snapshot is called by a commit, a blob by a hash: neither says anything.
  if (hub)
    return [hub.name, usual ? hub.inside.split('/').slice(0, -1).join('/') : hub.inside].filter(Boolean).join('/');
  return usual ? baseName(folderOf(file)) : name;
}
