/**
 * Dense safetensors in the source's own dtype, which any loader of Hugging Face folders reads. Nothing is saved on disk: it
 * is for checking fidelity and for tools that know no low-rank format. A dense checkpoint passes through unchanged; one that
 * another tool packed is refused.
 */
import { joinPath, baseName } from '../../files/paths';
import { serializeHeader, serializeIndex, type TensorSpec } from '../../checkpoint/serialize';
import { joinSlices, slicesOf } from '../../checkpoint/slices';
import type { CheckpointIndex, LogicalTensor } from '../../checkpoint/types';
import { callNative } from '../../context';
import { LqError } from '../../errors';
import { overLanes } from '../../lanes';
import type { DenseSource } from '../../native';
import type { ExportContext, Exporter } from '../exporter';
import { copyTensors } from '../../storage/copy';
import { openOutput, partialFolder } from '../../storage/output';
import { logicalTensors } from '../../logical/logical';
import { unmarkConfig } from '../../packed/config';
import { aligned, denseFile } from '../../packed/format';
import { readPacked, type PackedMatrix } from '../../packed/reader';
import { elementTensor, filesStamp } from '../../checkpoint/sources';
import { indexFileOf, shardName } from '../../checkpoint/shards';
import { copySideFiles } from '../../checkpoint/side-files';

/** Journal entry of the tensors that are copied. */
const KEPT = '*kept*';

export const dense: Exporter = {
  id: 'dense',
  label: 'Dense safetensors',
  description: 'Every weight in the dtype of the original, for any loader. As large as the original.',
  accepts: index => index.gguf === undefined && foreignOf(index) === undefined,
  run: exportDense,
};

async function exportDense({ pipeline, index, out, overwrite }: ExportContext): ReturnType<Exporter['run']> {
  const { files } = pipeline;
  if (index.gguf)
    throw new LqError('usage', `${index.label} is a GGUF file; only safetensors checkpoints are exported.`, {
      file: index.file,
    });
  requireReadable(index);
  const matrices = readPacked(index);
  const parts = new Set([...matrices.values()].flatMap(matrix => matrix.parts.map(part => part.name)));
  const folder = partialFolder(out);
  const shards = index.shards.map(shard => {
    const kept = index.tensors
      .filter(tensor => tensor.file === shard.file && !parts.has(tensor.name))
      .map(elementTensor);
    const rebuilt = [...matrices.values()].filter(matrix => matrix.parts[0]!.file === shard.file);
    const all: TensorSpec[] = [
      ...rebuilt.map(({ name, dtype, ...own }) => ({ name, dtype, shape: denseShape(own) })),
      ...kept,
    ];
    // Only our own packed checkpoints hold slices of tensors.
    const { specs, joined } = matrices.size > 0 ? joinSlices(all) : { specs: all, joined: new Set<string>() };
    const header = serializeHeader(aligned(specs), { format: 'pt' });
    return {
      file: denseFile(shardName(index, shard.file)),
      bytes: header.fileBytes,
      header: header.bytes,
      tensors: header.tensors,
      places: header.tensors.flatMap(place => (joined.has(place.name) ? slicesOf(place) : [place])),
    };
  });
  const output = await openOutput<null>(pipeline, {
    out,
    source: index.folder,
    overwrite,
    fingerprint: pipeline.digest(JSON.stringify([dense.id, await filesStamp(pipeline, index)])),
    items: matrices.size + 1,
    files: shards,
  });
  try {
    const places = shards.flatMap(({ file, places: own }) =>
      own.map(place => ({ ...place, shard: file, path: joinPath(folder, file) })),
    );
    const copies = places.flatMap(({ name, shard, path, offset, bytes }) => {
      const from = index.byName.get(name);
      if (!from) return [];
      return [{ name, shard, from: { path: from.file, offset: from.offset, bytes }, to: { path, offset, bytes } }];
    });
    if (!output.done.has(KEPT)) {
      await copyTensors(pipeline, copies);
      await output.markDone(KEPT, null, [...new Set(copies.map(({ shard }) => shard))]);
    }
    await overLanes(pipeline, {
      stage: 'export',
      items: places.flatMap(place => {
        const matrix = matrices.get(place.name);
        return matrix ? [{ ...place, matrix }] : [];
      }),
      nameOf: ({ name }) => name,
      weightOf: ({ matrix: { shape } }) => shape[0] * shape[1],
      async work(lane, { name, path, offset, shard, matrix }) {
        if (output.done.has(name)) return;
        await output.requireHeld();
        await callNative(lane, { file: matrix.parts[0]!.file, tensor: name }, control =>
          lane.native.reconstruct(lane.device, matrix.source, destination(matrix, path, offset), control),
        );
        await output.markDone(name, null, [shard]);
      },
    });
    const source = indexFileOf(index);
    if (source !== undefined)
      await files.writeAtomic(
        joinPath(folder, denseFile(baseName(source))),
        serializeIndex(
          shards.map(({ file, tensors }) => ({
            file,
            tensors,
            bytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
          })),
        ),
      );
    await copySideFiles(pipeline, index, folder);
    if (index.config) {
      const text = await files.readText(joinPath(index.folder, 'config.json'));
      await files.writeAtomic(joinPath(folder, 'config.json'), matrices.size > 0 ? unmarkConfig(text) : text);
    }
    const bytes = places.reduce((sum, place) => sum + place.bytes, 0);
    return { out, files: await output.finish(), bytes };
  } catch (error) {
    await output.keep();
    throw error;
  }
}

/** A weight that another tool packed. */
const foreignOf = (index: CheckpointIndex): LogicalTensor | undefined =>
  logicalTensors(index).find(({ format }) => format !== 'dense' && format !== 'lq');

/** Refuses weights that another tool packed: copied as they are they would be called dense and be none. */
function requireReadable(index: CheckpointIndex): void {
  const packed = foreignOf(index);
  if (packed === undefined) return;
  throw new LqError(
    'unsupported-dtype',
    `${packed.name} is stored as ${packed.dtype} (${packed.format}), which is not turned into dense weights.`,
    { file: packed.parts[0]?.file ?? index.file, tensor: packed.name },
  );
}

/** Of the tensor that a matrix stands for. */
const denseShape = ({
  shape: [rows, cols],
  transposed,
}: Pick<PackedMatrix, 'shape' | 'transposed'>): readonly number[] => (transposed ? [cols, rows] : [rows, cols]);

function destination(
  { dtype, shape: [rows, cols], transposed }: PackedMatrix,
  path: string,
  offset: number,
): DenseSource {
  return { kind: 'dense', path, offset, dtype, rows, cols, ...(transposed && { transposed }) };
}
