/**
 * Safetensors folders of other programs: sharded like the source, with some matrices replaced by the tensors that the program
 * stores for them. Whole or not at all, resumable matrix by matrix.
 */
import { indexFileOf, shardName } from '../../checkpoint/shards';
import { serializeHeader, serializeIndex, type TensorPlace, type TensorSpec } from '../../checkpoint/serialize';
import { copySideFiles } from '../../checkpoint/side-files';
import { joinSlices, slicesOf } from '../../checkpoint/slices';
import { elementTensor, filesHash } from '../../checkpoint/sources';
import type { CheckpointIndex } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { baseName, joinPath } from '../../files/paths';
import { overLanes } from '../../lanes';
import { aligned } from '../../packed/format';
import { copyTensors } from '../../storage/copy';
import { openOutput, partialFolder } from '../../storage/output';

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

export interface FolderJob<R> {
  readonly index: CheckpointIndex;
  readonly shards: readonly Shard[];
  readonly replacements: readonly Replacement[];
  /** Writes a replacement's other tensors, each at its place. What it returns is kept with it. */
  write(lane: PipelineContext, replacement: Replacement, places: ReadonlyMap<string, PlacedTensor>): Promise<R>;
  /** `config.json` of the folder, from that of the source. */
  config(text: string): string;
  readonly readme: string;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** What the bytes depend on beside the source and the tensors. */
  readonly fingerprint: string;
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
export async function writeFolder<R>(
  context: PipelineContext,
  job: FolderJob<R>,
): Promise<{ files: string[]; bytes: number; records: ReadonlyMap<string, R> }> {
  const { files } = context;
  const { index, shards, out } = job;
  const output = await openOutput<R | null>(context, {
    out,
    source: index.folder,
    overwrite: job.overwrite,
    fingerprint: context.digest(
      JSON.stringify([await filesHash(context, index), shards.map(({ tensors }) => tensors), job.fingerprint]),
    ),
    shared: true,
    items: job.replacements.length + 1,
    files: shards,
  });
  const folder = partialFolder(out);
  try {
    const places = new Map<string, PlacedTensor>();
    const fileOf = new Map<string, string>();
    for (const { file, tensors } of shards)
      for (const tensor of tensors)
        for (const place of [tensor, ...(tensor.shape.length === 3 ? slicesOf(tensor) : [])]) {
          places.set(place.name, { ...place, path: joinPath(folder, file) });
          fileOf.set(place.name, file);
        }
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
    await overLanes(context, {
      stage: 'export',
      items: job.replacements.filter(({ name }) => !output.done.has(name)),
      nameOf: ({ name }) => name,
      weightOf: ({ weights }) => weights,
      async work(lane, replacement) {
        await output.requireHeld();
        const record = await job.write(lane, replacement, places);
        const touched = new Set(replacement.tensors.map(({ name }) => fileOf.get(name)!));
        await output.markDone(replacement.name, record, [...touched]);
      },
    });
    const source = indexFileOf(index);
    if (source !== undefined)
      await files.writeAtomic(
        joinPath(folder, baseName(source)),
        serializeIndex(
          shards.map(({ file, tensors }) => ({
            file,
            tensors,
            bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
          })),
        ),
      );
    await copySideFiles(context, index, folder);
    if (index.config) {
      const text = await files.readText(joinPath(index.folder, 'config.json'));
      await files.writeAtomic(joinPath(folder, 'config.json'), job.config(text));
    }
    await files.writeAtomic(joinPath(folder, 'README.md'), job.readme);
    const records = new Map(job.replacements.map(({ name }) => [name, output.done.get(name) as R]));
    return { files: await output.finish(), bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0), records };
  } catch (error) {
    await output.keep();
    throw error;
  }
}

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
