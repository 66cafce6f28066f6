/** A packed checkpoint under another path, bit for bit. Making one from a dense checkpoint is compression. */
import { folderOf, joinPath } from '../../files/paths';
import { baseName } from '../../format';
import type { CheckpointIndex } from '../../checkpoint/types';
import { LqError } from '../../errors';
import type { Meant } from '../delivered';
import type { ExportContext, Exported, Exporter } from '../exporter';
import { writeFolder } from '../folder';
import { storedModel } from '../loads/stored';
import { indexFileOf, shardName } from '../../checkpoint/shards';
import { SIDECAR_FILE } from '../../packed/format';
import { readPacked } from '../../packed/reader';

export const packed: Exporter = {
  id: 'packed',
  label: 'Packed LQ checkpoint',
  description: 'Codes, scales and factors: the small one. Read by LQ Studio, specified for others.',
  accepts: index => index.tensors.length > 0 && readPacked(index).size > 0,
  run: copyPacked,
};

async function copyPacked({ pipeline, index, out, overwrite }: ExportContext): Promise<Exported> {
  if (readPacked(index).size === 0)
    throw new LqError('usage', `${index.label} is not packed; compress it to make a packed checkpoint.`, {
      file: index.file,
    });
  const { files } = pipeline;
  const made = await writeFolder<null>(pipeline, {
    ...{ index, out, overwrite },
    fingerprint: packed.id,
    shared: false,
    items: 0,
    files: [],
    async fill({ folder }) {
      const shards = index.shards.map(shard => shardName(index, shard.file));
      for (const name of [...shards, ...descriptionFiles(index)]) {
        const from = joinPath(index.folder, name);
        if (!(await files.stat(from))) continue;
        const to = joinPath(folder, name);
        await files.makeFolder(folderOf(to));
        await files.copyFile(from, to);
      }
    },
    texts: new Map(),
    meant: () => ({ ...packedFormat, stored: storedModel(index), squaredErrors: new Map() }),
  });
  return { ...made, bytes: index.bytes };
}

/** What every folder in our own format is called and how it is used. */
export const packedFormat = {
  format: 'Packed LQ checkpoint',
  load: [
    {
      language: 'sh',
      lines: [
        'lq-studio eval . --text eval.txt',
        'lq-studio export . --format dense --out ../dense   # for other programs',
      ],
    },
  ],
} as const satisfies Pick<Meant, 'format' | 'load'>;

/** Names of the JSON files that describe a packed checkpoint, as far as it is one with an index or a configuration. */
function descriptionFiles(index: CheckpointIndex): string[] {
  const shards = indexFileOf(index);
  return [SIDECAR_FILE, ...(shards === undefined ? [] : [baseName(shards)]), ...(index.config ? ['config.json'] : [])];
}
