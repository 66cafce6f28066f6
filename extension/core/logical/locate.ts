/** Which file a path stands for: a file itself, a folder's model, a snapshot of the hub's cache. */
import { GGUF_SUFFIX, ggufParts } from '../checkpoint/gguf/open';
import { FOREIGN_BYTES, foreignContent } from '../checkpoint/foreign';
import { compareNatural } from '../checkpoint/order';
import { INDEX_SUFFIX } from '../checkpoint/shard-index';
import type { CheckpointProblem } from '../checkpoint/types';
import { LqError } from '../errors';
import { hubRepository, hubSnapshot } from '../files/hub-cache';
import { folderOf, joinPath } from '../files/paths';
import { baseName } from '../format';
import type { FileSystem } from '../files/types';
import { quoteName } from '../text';

export const FILE_SUFFIX = '.safetensors';
export const CONFIG_FILES: readonly string[] = ['config.json', 'adapter_config.json'];
/** Files of a folder and folders in it that are looked at for other checkpoints. */
const MOST_LOOKED_AT = 500;
/** Other formats of weights, to say what is there instead. */
const OTHER_WEIGHTS = /\.(?:bin|pt|pth|ckpt|h5|msgpack|onnx|npz|pkl|mlmodel|tflite|ggml)$/i;

/** What a path led to. `shards` are names beside each other that belong together without an index that says so. */
export interface Source {
  readonly kind: 'file' | 'index' | 'shards' | 'gguf';
  /** The file, the first part of a GGUF file, the index, or the index that would list the shards. */
  readonly file: string;
  readonly shards?: readonly string[];
}

/**
 * Finds what to open.
 * @throws LqError 'file-not-found', 'not-a-checkpoint' saying what is there instead, 'io'.
 */
export async function locate(files: FileSystem, path: string): Promise<Source> {
  const stat = await files.stat(path);
  const name = baseName(path);
  if (!stat) return locateAbsent(files, path);
  if (stat.directory) return locateInFolder(files, (await hubSnapshot(files, path)) ?? path);
  if (name.endsWith(INDEX_SUFFIX)) return { kind: 'index', file: path };
  if (CONFIG_FILES.includes(name)) return locateInFolder(files, folderOf(path));
  if (name.toLowerCase().endsWith(GGUF_SUFFIX)) return { kind: 'gguf', file: ggufParts(path)[0]! };
  return { kind: (await beginsAsGguf(files, path, stat.bytes)) ? 'gguf' : 'file', file: path };
}

/** True for a GGUF file of another name, as a blob of a cache has. */
async function beginsAsGguf(files: FileSystem, path: string, bytes: number): Promise<boolean> {
  return bytes >= 4 && String.fromCharCode(...(await files.read(path, 0, 4))) === 'GGUF';
}

async function locateAbsent(files: FileSystem, path: string): Promise<Source> {
  const folder = folderOf(path);
  const name = baseName(path);
  const names = (await files.stat(folder))?.directory ? await files.list(folder) : [];
  const shards = name.endsWith(INDEX_SUFFIX) ? shardGroups(names).get(name) : undefined;
  if (shards) return { kind: 'shards', file: path, shards };
  throw absent(path, names.includes(name));
}

function absent(path: string, listed: boolean): LqError {
  const message = listed ? `${path} is a link to a file that is not there` : `${path} does not exist`;
  return new LqError('file-not-found', message, { file: path });
}

/** What a folder holds that could be opened. */
interface Contents {
  /** Single files, those of shard groups left out. */
  readonly weights: readonly string[];
  readonly indexes: readonly string[];
  /** Names of shards by the index that would list them, where there is none. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
  /** GGUF files, by their first parts. */
  readonly ggufs: readonly string[];
  readonly broken: readonly string[];
  readonly others: readonly string[];
}

async function contentsOf(files: FileSystem, folder: string): Promise<Contents> {
  const names = (await files.list(folder)).sort(compareNatural);
  const candidates = names.filter(name => isWeights(name) || isGguf(name) || name.endsWith(INDEX_SUFFIX));
  const stats = await Promise.all(candidates.map(name => files.stat(joinPath(folder, name))));
  const present = candidates.filter((_, i) => stats[i]?.directory === false);
  const indexes = present.filter(name => name.endsWith(INDEX_SUFFIX));
  const groups = shardGroups(present);
  for (const index of indexes) groups.delete(index);
  const grouped = new Set([...groups.values()].flat());
  return {
    weights: present.filter(name => isWeights(name) && !grouped.has(name)),
    indexes,
    groups,
    ggufs: present.filter(name => isGguf(name) && baseName(ggufParts(joinPath(folder, name))[0]!) === name),
    broken: candidates.filter((_, i) => stats[i] === undefined),
    others: names.filter(name => !present.includes(name)),
  };
}

const isWeights = (name: string): boolean => name.toLowerCase().endsWith(FILE_SUFFIX);
const isGguf = (name: string): boolean => name.toLowerCase().endsWith(GGUF_SUFFIX);

/** `model-00001-of-00003.safetensors` and its kin, by the name of the index they would have; variants stay apart. */
function shardGroups(names: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const name of names) {
    const [, prefix, count, variant = ''] = /^(.+)-\d+-of-(\d+)(\.[\w-]+)?\.safetensors$/i.exec(name) ?? [];
    if (prefix === undefined || Number(count) < 1) continue;
    const index = `${prefix}${variant}${INDEX_SUFFIX}`;
    groups.set(index, [...(groups.get(index) ?? []), name]);
  }
  return groups;
}

/** The names of a group that should be there, by the count in them: gaps are shards that are missing. */
export function expectedShards(shards: readonly string[]): string[] {
  const [, prefix = '', digits = '', count = '', rest = ''] = /^(.+)-(\d+)-of-(\d+)(\..*)$/.exec(shards[0] ?? '') ?? [];
  const wanted = Math.min(Number(count), 10_000);
  const first = shards.some(name => Number(/-(\d+)-of-/.exec(name)?.[1]) === 0) ? 0 : 1;
  const expected = Array.from(
    { length: wanted },
    (_, i) => `${prefix}-${String(i + first).padStart(digits.length, '0')}-of-${count}${rest}`,
  );
  return [...new Set([...expected, ...shards])].sort(compareNatural);
}

/** Stems in the order in which loaders of the hub's libraries look for them: a whole model before an adapter. */
const STEMS = ['model', 'adapter_model', 'diffusion_pytorch_model'];

/** The file transformers, peft and diffusers would load: a whole file before its shards. */
async function locateInFolder(files: FileSystem, folder: string): Promise<Source> {
  const contents = await contentsOf(files, folder);
  const { weights, indexes, groups, ggufs } = contents;
  const found = (kind: Source['kind'], name: string): Source => {
    const shards = groups.get(name);
    return { kind, file: joinPath(folder, name), ...(shards && kind === 'shards' && { shards }) };
  };
  for (const stem of STEMS) {
    const index = stem + INDEX_SUFFIX;
    if (weights.includes(stem + FILE_SUFFIX)) return found('file', stem + FILE_SUFFIX);
    if (indexes.includes(index)) return found('index', index);
    if (groups.has(index)) return found('shards', index);
  }
  const groupNames = [...groups.keys()];
  if (indexes.length === 1) return found('index', indexes[0]!);
  if (indexes.length === 0 && groupNames.length === 1) return found('shards', groupNames[0]!);
  if (indexes.length + groupNames.length === 0 && weights.length === 1) return found('file', weights[0]!);
  const choices = [...indexes, ...groupNames, ...weights, ...ggufs];
  if (choices.length === 1 && ggufs.length === 1) return found('gguf', ggufs[0]!);
  if (choices.length === 0) throw await nothingIn(files, folder, contents);
  const many = choices.some(isVariant) ? 'several checkpoints or precision variants' : 'several checkpoints';
  throw new LqError('not-a-checkpoint', `${named(folder)} holds ${many}, open one of them: ${listed(choices)}`, {
    file: folder,
  });
}

const isVariant = (name: string): boolean => /\.(?:fp16|fp32|bf16|fp8|int8|int4|ema|non_ema)[.-]/i.test(name);

/** A folder as a message calls it: a repository of the hub by its name. */
function named(folder: string): string {
  const hub = hubRepository(folder);
  return hub === undefined || hub.inside !== '' ? baseName(folder) : hub.name;
}

/** Up to five names, and how many there are beyond them. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).map(name => (/^[\w.+-]{1,80}$/.test(name) ? name : quoteName(name)));
  return shown.join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
}

async function nothingIn(files: FileSystem, folder: string, contents: Contents): Promise<LqError> {
  const fail = (message: string): LqError => new LqError('not-a-checkpoint', message, { file: folder });
  const broken = contents.broken[0];
  if (broken !== undefined) return absent(joinPath(folder, broken), true);
  const inside = await foldersWithWeights(files, folder, contents.others);
  if (inside.length > 0) {
    const pipeline = contents.others.includes('model_index.json')
      ? 'is a pipeline of'
      : 'holds checkpoints in folders,';
    const what = contents.others.includes('model_index.json') ? ` ${inside.length} models,` : '';
    return fail(`${named(folder)} ${pipeline}${what} open one of them: ${listed(inside)}`);
  }
  const other = contents.others.find(name => OTHER_WEIGHTS.test(name));
  if (other === undefined) return fail(`${named(folder)} holds no safetensors or GGUF file`);
  const others = contents.others.filter(name => OTHER_WEIGHTS.test(name));
  const what = await contentOf(files, joinPath(folder, other));
  const convert = /\.(?:bin|pt|pth|ckpt|pkl)$/i.test(other)
    ? '; PyTorch pickles can run code and are not opened: save the model as safetensors, as save_pretrained does in Python'
    : '';
  const described = what === undefined || convert !== '' ? '' : ` (${what})`;
  return fail(`${named(folder)} holds no safetensors or GGUF file, but ${listed(others)}${described}${convert}`);
}

/** What a file is by its first bytes, for a message. */
async function contentOf(files: FileSystem, file: string): Promise<string | undefined> {
  const stat = await files.stat(file);
  if (!stat || stat.directory) return undefined;
  return foreignContent(await files.read(file, 0, Math.min(stat.bytes, FOREIGN_BYTES)), stat.bytes);
}

/** Folders directly inside that hold weights or an index. */
async function foldersWithWeights(files: FileSystem, folder: string, names: readonly string[]): Promise<string[]> {
  const looked = names.filter(name => !name.startsWith('.') && !/\.(?:json|txt|md|py|bin|model|jinja)$/.test(name));
  const found = await Promise.all(
    looked.slice(0, MOST_LOOKED_AT).map(async name => {
      const path = joinPath(folder, name);
      if (!(await files.stat(path))?.directory) return [];
      const hub = await hubSnapshot(files, path);
      const inside = await files.list(hub ?? path);
      return inside.some(child => isWeights(child) || isGguf(child) || child.endsWith(INDEX_SUFFIX)) ? [name] : [];
    }),
  );
  return found.flat();
}

/**
 * What lies beside the opened checkpoint and was not opened: other files of weights, folders with checkpoints of their own.
 * @param used names of the files that belong to what was opened
 */
export async function remarksBeside(
  files: FileSystem,
  source: Source,
  used: ReadonlySet<string>,
): Promise<CheckpointProblem[]> {
  const folder = folderOf(source.file);
  const { weights, indexes, groups, ggufs, others } = await contentsOf(files, folder);
  const remarks: CheckpointProblem[] = [];
  const remark = (severity: 'warning' | 'information', code: string, message: string): void => {
    remarks.push({ severity, code, message, file: source.file });
  };
  const own = baseName(source.file);
  const twin = own.slice(0, -FILE_SUFFIX.length) + INDEX_SUFFIX;
  const isTwin = source.kind === 'file' && (indexes.includes(twin) || groups.has(twin));
  if (isTwin) {
    const message = `${own} was opened, as loaders do, although shards of a model of that name lie beside it: one of the two may be old`;
    remark('warning', 'file-beside-shards', message);
  }
  if (source.kind === 'shards') {
    remark('information', 'no-index', `${own} is missing: the shards were put together by their names`);
  }
  const rest = [...indexes, ...groups.keys(), ...weights, ...ggufs].filter(
    name => name !== own && !used.has(name) && !(isTwin && (name === twin || /-\d+-of-\d+\./.test(name))),
  );
  if (rest.length > 0) {
    const variants = rest.some(isVariant) ? ' (precision variants can be opened by their file)' : '';
    remark('information', 'other-checkpoints', `not part of it, and not opened: ${listed(rest)}${variants}`);
  }
  const inside = await foldersWithWeights(files, folder, others);
  const folders = inside.filter(name => ![...used].some(file => file.startsWith(`${name}/`)));
  if (folders.length > 0)
    remark('information', 'other-checkpoints', `folders with checkpoints of their own: ${listed(folders)}`);
  return remarks;
}
