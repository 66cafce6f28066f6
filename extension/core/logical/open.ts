/** Opening a checkpoint: headers and small JSON files are read, weights are not. */
import { LqError } from '../errors';
import { readPacked } from '../packed/reader';
import { readDescriptors } from '../checkpoint/formats/descriptors';
import { ggufConfig } from '../checkpoint/gguf/config';
import { GGUF_SUFFIX, ggufParts, openGguf } from '../checkpoint/gguf/open';
import type { GgufMetadata } from '../checkpoint/gguf/values';
import { logicalTensors } from './logical';
import { unknownLayouts } from './unknown';
import { compareNatural } from '../checkpoint/order';
import { baseName, folderOf, joinPath, trimPath } from '../files/paths';
import { quoteName, readHeader, type SafetensorsHeader } from '../checkpoint/safetensors';
import { INDEX_SUFFIX, readShardIndex, type ShardIndex } from '../checkpoint/shard-index';
import type { CheckpointIndex, CheckpointProblem, ShardInfo, TensorInfo } from '../checkpoint/types';
import type { FileSystem } from '../files/types';

const FILE_SUFFIX = '.safetensors';
const CONFIG_FILES: readonly string[] = ['config.json', 'adapter_config.json'];

/**
 * Opens a `.safetensors` file (only that file), a `*.safetensors.index.json` with its shards, a Hugging Face folder, the
 * config.json within one, or a `.gguf` file with the other parts when it is split. `path` is absolute.
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
  const config = metadata ? ggufConfig(metadata, { byName, descriptors }) : ownConfig;
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
  problems.push(...unknownLayouts(index, logical));
  problems.push(...packedProblems(checkpoint));
  return checkpoint;
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

interface Source {
  kind: 'file' | 'index' | 'gguf';
  file: string;
}

async function locate(files: FileSystem, path: string): Promise<Source> {
  const stat = await files.stat(path);
  if (!stat) throw new LqError('file-not-found', `${path} does not exist`, { file: path });
  if (stat.directory) return locateInFolder(files, path);
  if (path.endsWith(INDEX_SUFFIX)) return { kind: 'index', file: path };
  if (path.endsWith(FILE_SUFFIX)) return { kind: 'file', file: path };
  if (path.endsWith(GGUF_SUFFIX)) return { kind: 'gguf', file: ggufParts(path)[0]! };
  if (CONFIG_FILES.includes(baseName(path))) return locateInFolder(files, folderOf(path));
  throw new LqError(
    'not-a-checkpoint',
    `${baseName(path)} is not a safetensors or GGUF file, an index, or a model's folder`,
    {
      file: path,
    },
  );
}

/** The file transformers and peft would load: a whole model before its shards, a model before an adapter. */
async function locateInFolder(files: FileSystem, folder: string): Promise<Source> {
  const names = (await files.list(folder)).sort(compareNatural);
  const indexes = names.filter(name => name.endsWith(INDEX_SUFFIX));
  const weights = names.filter(name => name.endsWith(FILE_SUFFIX));
  const found = (kind: Source['kind'], name: string): Source => ({ kind, file: joinPath(folder, name) });
  if (weights.includes('model.safetensors')) return found('file', 'model.safetensors');
  if (indexes.includes(`model${INDEX_SUFFIX}`)) return found('index', `model${INDEX_SUFFIX}`);
  if (weights.includes('adapter_model.safetensors')) return found('file', 'adapter_model.safetensors');
  if (indexes.length === 1) return found('index', indexes[0]!);
  if (indexes.length === 0 && weights.length === 1) return found('file', weights[0]!);
  const ggufs = names.filter(name => name.endsWith(GGUF_SUFFIX));
  const first = ggufs.filter(name => baseName(ggufParts(joinPath(folder, name))[0]!) === name);
  if (indexes.length + weights.length === 0 && first.length === 1) return found('gguf', first[0]!);
  const choices = [...indexes, ...weights, ...first];
  const message =
    choices.length === 0
      ? `${baseName(folder)} holds no safetensors or GGUF file`
      : `${baseName(folder)} holds several checkpoints, open one of them: ${choices.slice(0, 5).join(', ')}`;
  throw new LqError('not-a-checkpoint', message, { file: folder });
}

interface Contents {
  shards: ShardInfo[];
  tensors: TensorInfo[];
  /** Of a GGUF file. */
  metadata?: GgufMetadata;
}

function readContents(files: FileSystem, { kind, file }: Source, problems: CheckpointProblem[]): Promise<Contents> {
  switch (kind) {
    case 'file':
      return openFile(files, file);
    case 'index':
      return openShards(files, file, problems);
    case 'gguf':
      return openGguf(files, file, problems);
  }
}

async function openFile(files: FileSystem, file: string): Promise<Contents> {
  const { header, shard } = await openShard(files, file);
  return { shards: [shard], tensors: [...header.tensors] };
}

async function openShard(files: FileSystem, file: string): Promise<{ header: SafetensorsHeader; shard: ShardInfo }> {
  const header = await readHeader(files, file);
  const { headerBytes, metadata, tensors, fileBytes } = header;
  return { header, shard: { file, bytes: fileBytes, headerBytes, metadata, tensors: tensors.length } };
}

async function openShards(files: FileSystem, file: string, problems: CheckpointProblem[]): Promise<Contents> {
  const index = await readShardIndex(files, file);
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
    : { severity: 'error', code: failure.code, message: `${name}: ${failure.message}`, ...where };
}

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
  } else if (listed !== shard) {
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
    const config: unknown = JSON.parse(await files.readText(file));
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) {
      return config as Record<string, unknown>;
    }
    throw new SyntaxError('not an object');
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    problems.push({ severity: 'warning', code: 'config-json', message: `${baseName(file)}: ${error.message}`, file });
    return undefined;
  }
}

/** A model is called by its folder, as on the Hub; a file with a name of its own by that name. */
function labelOf(file: string): string {
  const name = baseName(file);
  return /^(adapter_|lq-)?model\.safetensors(\.index\.json)?$/.test(name) ? baseName(folderOf(file)) : name;
}
