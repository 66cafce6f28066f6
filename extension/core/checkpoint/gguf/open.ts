/** A GGUF checkpoint: one file, or the parts of a split one. */
import { LqError } from '../../errors';
import { folderOf, joinPath } from '../../files/paths';
import { baseName } from '../../format';
import { quoteName } from '../../text';
import type { FileSystem } from '../../files/types';
import type { CheckpointProblem, ShardInfo, TensorInfo } from '../types';
import { readGgufHeader, type GgufHeader } from './header';
import { describeValue, type GgufMetadata } from './values';

export const GGUF_SUFFIX = '.gguf';

/** How llama.cpp names parts: `NAME-00001-of-00003.gguf`. */
const PART = /-(\d{5})-of-(\d{5})\.gguf$/;
/** More than any split file has, and few enough to look for. */
const MAX_PARTS = 10_000;

export interface GgufContents {
  readonly shards: ShardInfo[];
  readonly tensors: TensorInfo[];
  /** Of the first part, which alone describes the model. */
  readonly metadata: GgufMetadata;
}

/** Files that belong together with `file`, in order; the file alone when it is no part. */
export function ggufParts(file: string): string[] {
  const name = baseName(file);
  const match = PART.exec(name);
  const count = Number(match?.[2] ?? 0);
  if (!match || count < 1 || count > MAX_PARTS) return [file];
  const part = (i: number): string =>
    `${name.slice(0, match.index)}-${String(i + 1).padStart(5, '0')}-of-${match[2]!}.gguf`;
  return Array.from({ length: count }, (_, i) => joinPath(folderOf(file), part(i)));
}

/**
 * Reads the headers of a file or of all parts of a split one. A part that is missing or damaged becomes a problem and the
 * rest is still there; a whole file that is damaged is an error.
 * @throws LqError of `readGgufHeader`.
 */
export async function openGguf(files: FileSystem, file: string, problems: CheckpointProblem[]): Promise<GgufContents> {
  const parts = ggufParts(file);
  if (parts.length === 1) {
    const header = await readGgufHeader(files, file);
    return { shards: [shardOf(file, header)], tensors: [...header.tensors], metadata: header.metadata };
  }
  const opened = await Promise.all(parts.map(part => openPart(files, part)));
  const shards: ShardInfo[] = [];
  const tensors = new Map<string, TensorInfo>();
  for (const [i, part] of opened.entries()) {
    const path = parts[i]!;
    shards.push(part.shard);
    if (part.failure) {
      problems.push(partFailure(part.failure, part.shard));
      continue;
    }
    problems.push(...splitProblems(part.header, path, i, parts.length));
    for (const tensor of part.header.tensors) {
      const other = tensors.get(tensor.name);
      if (other) {
        const message = `${quoteName(tensor.name)} is in ${baseName(other.file)} and in ${baseName(path)}`;
        problems.push({ severity: 'error', code: 'duplicate-tensor', message, file: path, tensor: tensor.name });
      } else tensors.set(tensor.name, tensor);
    }
  }
  const first = opened.find(part => !part.failure);
  if (first === undefined) throw opened[0]!.failure!;
  const stated = first.header.metadata.get('split.tensors.count');
  if (typeof stated === 'number' && stated !== tensors.size && opened.every(part => !part.failure)) {
    const message = `the first part states ${stated} tensors, the parts hold ${tensors.size}`;
    problems.push({ severity: 'error', code: 'shard-disagrees', message, file: parts[0]! });
  }
  return { shards, tensors: [...tensors.values()], metadata: first.header.metadata };
}

type Part = { shard: ShardInfo; header: GgufHeader; failure?: undefined } | { shard: ShardInfo; failure: LqError };

async function openPart(files: FileSystem, file: string): Promise<Part> {
  try {
    const header = await readGgufHeader(files, file);
    return { shard: shardOf(file, header), header };
  } catch (error) {
    const stat = await files.stat(file);
    const shard = { file, bytes: stat?.bytes ?? 0, headerBytes: 0, metadata: {}, tensors: 0 };
    return { shard: stat ? shard : { ...shard, missing: true }, failure: LqError.from(error) };
  }
}

function shardOf(file: string, header: GgufHeader): ShardInfo {
  const metadata = Object.fromEntries([...header.metadata].map(([key, value]) => [key, describeValue(value)]));
  return {
    file,
    bytes: header.fileBytes,
    headerBytes: header.headerBytes,
    metadata: { ...metadata, 'GGUF version': String(header.version) },
    tensors: header.tensors.length,
  };
}

function partFailure(failure: LqError, shard: ShardInfo): CheckpointProblem {
  const name = baseName(shard.file);
  const where = { file: shard.file, ...(failure.tensor !== undefined && { tensor: failure.tensor }) };
  return shard.missing
    ? { severity: 'error', code: 'shard-missing', message: `${name} is missing`, ...where }
    : { severity: 'error', code: failure.code, message: `${name}: ${failure.message}`, ...where };
}

/** What a part says of itself against what its name says. */
function splitProblems(header: GgufHeader, file: string, index: number, count: number): CheckpointProblem[] {
  const no = header.metadata.get('split.no');
  const of = header.metadata.get('split.count');
  if (no === index && of === count) return [];
  const says =
    no === undefined || of === undefined
      ? 'does not say which part it is'
      : `says it is part ${Number(no) + 1} of ${Number(of)}`;
  const message = `${baseName(file)} ${says}`;
  return [{ severity: 'warning', code: 'shard-disagrees', message, file }];
}
