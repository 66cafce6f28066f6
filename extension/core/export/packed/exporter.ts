/** A packed checkpoint under another path, bit for bit. Making one from a dense checkpoint is compression. */
import { baseName, folderOf, joinPath } from '../../files/paths';
import { filesStamp } from '../../checkpoint/sources';
import type { CheckpointIndex } from '../../checkpoint/types';
import { LqError } from '../../errors';
import type { ExportContext, Exporter } from '../exporter';
import { openOutput } from '../../storage/output';
import { indexFileOf, shardName } from '../../checkpoint/shards';
import { copySideFiles } from '../../checkpoint/side-files';
import { SIDECAR_FILE } from '../../packed/format';
import { readPacked } from '../../packed/reader';

export const packed: Exporter = {
  id: 'packed',
  label: 'Packed LQ checkpoint',
  description: 'Codes, scales and factors: the small one. Read by LQ Studio, specified for others.',
  accepts: index => index.tensors.length > 0 && readPacked(index).size > 0,
  run: copyPacked,
};

async function copyPacked({ pipeline, index, out, overwrite }: ExportContext): ReturnType<Exporter['run']> {
  if (readPacked(index).size === 0)
    throw new LqError('usage', `${index.label} is not packed; compress it to make a packed checkpoint.`, {
      file: index.file,
    });
  const { files } = pipeline;
  const output = await openOutput<null>(pipeline, {
    out,
    source: index.folder,
    overwrite,
    fingerprint: pipeline.digest(JSON.stringify([packed.id, await filesStamp(pipeline, index)])),
    items: 0,
    files: [],
  });
  try {
    const shards = index.shards.map(shard => shardName(index, shard.file));
    for (const name of [...shards, ...descriptionFiles(index)]) {
      const from = joinPath(index.folder, name);
      if (!(await files.stat(from))) continue;
      const to = joinPath(output.folder, name);
      await files.makeFolder(folderOf(to));
      await files.copyFile(from, to);
    }
    await copySideFiles(pipeline, index, output.folder);
    return { out, files: await output.finish(), bytes: index.bytes };
  } catch (error) {
    await output.discard();
    throw error;
  }
}

/** Names of the JSON files that describe a packed checkpoint, as far as it is one with an index or a configuration. */
function descriptionFiles(index: CheckpointIndex): string[] {
  const shards = indexFileOf(index);
  return [SIDECAR_FILE, ...(shards === undefined ? [] : [baseName(shards)]), ...(index.config ? ['config.json'] : [])];
}
