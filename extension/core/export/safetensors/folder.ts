/**
 * Safetensors folders of other programs: sharded like the source, with some matrices replaced by the tensors that the program
 * stores for them. Resumable matrix by matrix.
 */
import { indexFileOf, shardName } from '../../checkpoint/shards';
import { serializeHeader, serializeIndex, type TensorPlace, type TensorSpec } from '../../checkpoint/serialize';
import { joinSlices, slicesOf } from '../../checkpoint/slices';
import { elementTensor } from '../../checkpoint/sources';
import type { CheckpointIndex } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { baseName } from '../../format';
import { forgetEncoded, placePieces, type Piece, type Placing } from '../../decomposition/encoded';
import type { ItemReport } from '../../lanes';
import { aligned } from '../../packed/format';
import { copyTensors } from '../../storage/copy';
import type { Output } from '../../storage/output';
import type { Meant } from '../delivered';
import { writeFolder, type MadeFolder } from '../folder';

/** What is stored in the place of a matrix. */
export interface Replacement {
  /** Of the matrix. */
  readonly name: string;
  readonly weights: number;
  readonly tensors: readonly TensorSpec[];
  /** Bytes of tensors that do not depend on weights. */
  readonly constants: ReadonlyMap<string, Uint8Array>;
}

export interface Shard {
  /** Relative to the folder. */
  readonly file: string;
  readonly bytes: number;
  readonly header: Uint8Array;
  readonly tensors: readonly TensorPlace[];
}

export interface ReplacingJob<R> {
  readonly index: CheckpointIndex;
  readonly shards: readonly Shard[];
  readonly replacements: readonly Replacement[];
  /** Writes a replacement's other tensors, each at its place. What it returns is kept with it, a JSON value. */
  write(
    lane: PipelineContext,
    replacement: Replacement,
    places: ReadonlyMap<string, PlacedTensor>,
    report: ItemReport,
  ): Promise<R>;
  /** Writes replacements in layer order instead, each marked with its record. */
  writeInOrder?(places: ReadonlyMap<string, PlacedTensor>, placing: Omit<Placing<R>, 'pieces'>): Promise<void>;
  /** What the bytes that `write` writes depend on: workers encode them for one another under it. */
  keyOf(replacement: Replacement): unknown;
  /** `config.json` of the folder, from that of the source. */
  config(text: string): string;
  readonly readme: string;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** What the bytes depend on beside the source and the tensors. */
  readonly fingerprint: unknown;
  meant(records: ReadonlyMap<string, R>): Meant;
}

export interface PlacedTensor extends TensorPlace {
  readonly path: string;
}

/** Journal entry of the tensors that are copied. */
const KEPT = '*kept*';

/**
 * The shards of a folder with these replacements.
 * @param least bytes before the first tensor of each shard, where sizes must not depend on what headers say
 */
export function shardsOf(
  index: CheckpointIndex,
  replacements: readonly Pick<Replacement, 'name' | 'tensors'>[],
  metadata: Readonly<Record<string, string>>,
  least?: readonly number[],
): Shard[] {
  const replaced = new Map(replacements.map(({ name, tensors }) => [name, tensors]));
  return index.shards.map((shard, i) => {
    const own = index.tensors.filter(tensor => tensor.file === shard.file);
    const { specs } = joinSlices(own.flatMap(tensor => replaced.get(tensor.name) ?? [elementTensor(tensor)]));
    const header = serializeHeader(aligned(specs), metadata, least?.[i]);
    return {
      file: shardName(index, shard.file),
      bytes: header.fileBytes,
      header: header.bytes,
      tensors: header.tensors,
    };
  });
}

/** @throws LqError 'output-exists', 'disk-full', 'not-finite', 'io', 'cancelled'. */
export async function writeReplaced<R>(
  context: PipelineContext,
  job: ReplacingJob<R>,
): Promise<MadeFolder<R> & { readonly records: ReadonlyMap<string, R> }> {
  const { index, shards, out, overwrite } = job;
  const recordsOf = (done: ReadonlyMap<string, R | null>): Map<string, R> =>
    new Map(job.replacements.map(({ name }) => [name, done.get(name) as R]));
  const made = await writeFolder<R | null>(context, {
    ...{ index, out, overwrite },
    fingerprint: [shards.map(({ tensors }) => tensors), job.fingerprint],
    shared: true,
    items: job.replacements.length + 1,
    files: shards,
    fill: output => fillShards(context, job, output),
    texts: await textsOf(context, job),
    meant: done => job.meant(recordsOf(done)),
  });
  await forgetEncoded(context, replacedPieces(job, out));
  return { ...made, records: recordsOf(made.records) };
}

async function fillShards<R>(context: PipelineContext, job: ReplacingJob<R>, output: Output<R | null>): Promise<void> {
  const { index, shards } = job;
  const { folder } = output;
  const { places, fileOf } = placesIn(shards, folder);
  if (!output.done.has(KEPT)) {
    const replaced = new Set(job.replacements.map(({ name }) => name));
    const copies = index.tensors.flatMap(({ name, file, offset, bytes }) => {
      const to = places.get(name);
      if (replaced.has(name) || !to) return [];
      const from = { path: file, offset, bytes };
      return [{ name, shard: fileOf.get(name)!, from, to: { path: to.path, offset: to.offset, bytes } }];
    });
    await copyTensors(context, copies);
    await writeConstants(context, folder, job.replacements, places);
    await output.markDone(KEPT, null, [...new Set(fileOf.values())]);
  }
  const tensorsOf = new Map(job.replacements.map(({ name, tensors }) => [name, tensors]));
  const placing: Omit<Placing<R>, 'pieces'> = {
    stage: 'export',
    isDone: name => output.done.has(name),
    requireHeld: () => output.requireHeld(),
    markDone(name, record) {
      const touched = new Set(tensorsOf.get(name)!.map(tensor => fileOf.get(tensor.name)!));
      return output.markDone(name, record, [...touched]);
    },
  };
  if (job.writeInOrder) await job.writeInOrder(places, placing);
  else await placePieces(context, { ...placing, pieces: replacedPieces(job, folder) });
}

/** Where the tensors of a folder go, and of those of three dimensions each matrix. */
function placesIn(
  shards: readonly Shard[],
  folder: string,
): { places: Map<string, PlacedTensor>; fileOf: Map<string, string> } {
  const places = new Map<string, PlacedTensor>();
  const fileOf = new Map<string, string>();
  for (const { file, tensors } of shards)
    for (const tensor of tensors)
      for (const place of [tensor, ...(tensor.shape.length === 3 ? slicesOf(tensor) : [])]) {
        places.set(place.name, { ...place, path: joinPath(folder, file) });
        fileOf.set(place.name, file);
      }
  return { places, fileOf };
}

/** The replacements of a folder as several processes can encode them. */
export function replacedPieces<R>(
  { shards, replacements, write, keyOf }: Pick<ReplacingJob<R>, 'shards' | 'replacements' | 'write' | 'keyOf'>,
  folder: string,
): Piece<R>[] {
  const { places } = placesIn(shards, folder);
  return replacements.map(replacement => {
    const { name, weights, tensors, constants } = replacement;
    const written = tensors.filter(tensor => !constants.has(tensor.name)).map(tensor => places.get(tensor.name)!);
    return {
      name,
      weights,
      key: keyOf(replacement),
      parts: written.map(({ path, offset, bytes }) => ({ path, offset, bytes })),
      encode(lane, parts, report) {
        const moved = written.map((place, i) => [place.name, { ...place, ...parts[i]! }] as const);
        return write(lane, replacement, new Map([...places, ...moved]), report);
      },
    };
  });
}

/** Index, configuration and README.md. */
async function textsOf<R>(context: PipelineContext, job: ReplacingJob<R>): Promise<Map<string, string>> {
  const { index, shards } = job;
  const texts = new Map([['README.md', job.readme]]);
  const source = indexFileOf(index);
  if (source !== undefined) texts.set(baseName(source), indexText(shards));
  if (index.config)
    texts.set('config.json', job.config(await context.files.readText(joinPath(index.folder, 'config.json'))));
  return texts;
}

/** `model.safetensors.index.json` of shards. */
export const indexText = (shards: readonly Pick<Shard, 'file' | 'tensors'>[]): string =>
  serializeIndex(
    shards.map(({ file, tensors }) => ({
      file,
      tensors,
      bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    })),
  );

/** The small tensors that say shapes, through one file of their own. */
async function writeConstants(
  context: PipelineContext,
  folder: string,
  replacements: readonly Replacement[],
  places: ReadonlyMap<string, PlacedTensor>,
): Promise<void> {
  const constants = replacements.flatMap(replacement => [...replacement.constants]);
  const all = new Uint8Array(constants.reduce((sum, [, bytes]) => sum + bytes.length, 0));
  const aside = joinPath(folder, 'constants');
  let offset = 0;
  const copies = constants.map(([name, bytes]) => {
    all.set(bytes, offset);
    const from = { path: aside, offset, bytes: bytes.length };
    offset += bytes.length;
    return { name, from };
  });
  await context.files.writeAtomic(aside, all);
  for (const { name, from } of copies) {
    const { path, offset: to } = places.get(name)!;
    await callNative(context, { file: path, tensor: name }, control =>
      context.native.copy(from, { path, offset: to, bytes: from.bytes }, control),
    );
  }
  await context.files.remove(aside);
}

/**
 * `config.json` with further entries that say how weights are quantised, spliced into the text so that every other byte of it stays, numbers such as
 * 1e-05 included.
 * @throws LqError 'unsupported-model' for one that says the model is quantised already.
 */
export function quantizedConfig(text: string, file: string, entries: Readonly<Record<string, unknown>>): string {
  const end = text.lastIndexOf('}');
  if (end < 0) throw new LqError('not-a-checkpoint', `${file} is not a JSON object.`, { file });
  const config = JSON.parse(text) as Record<string, unknown>;
  if (config.quantization_config !== undefined)
    throw new LqError('unsupported-model', `${file} says that the model is quantised already.`, { file });
  const body = text.slice(0, end).trimEnd();
  const own = JSON.stringify(entries, undefined, 2).slice(1);
  return `${body}${body.endsWith('{') ? '' : ','}${own}\n`;
}
