/** Dense weights of a compressed checkpoint: packed into the cache first, so that a run that fails does not encode again. */
import { backendOf } from '../../context';
import type { Target, Written } from '../target';
import { openComplete } from '../../opened';
import { cachePath, holdEntry, makeRoom, removeUnlessUsed } from '../../storage/cache';
import { preparePacked, writePacked } from '../packed/target';
import { storedModel } from '../loads/stored';
import { dense } from './exporter';

export const denseTarget: Target = {
  stages: ['decompose', 'export'],
  layerOrder: true,
  embeddings: 'asked',
  prepare(_, opened, options, request) {
    const packed = preparePacked(opened, options, request);
    const { index } = opened;
    return Promise.resolve({
      ...packed,
      sizes: { ...packed.sizes, fixed: index.bytes },
      stored: () => storedModel(index),
      async write(context, job) {
        const { out, plan, table, secondPass: pass } = job;
        const tokens = pass && context.digest(pass.windows.tokens.join());
        const hashes = table.matrices.map(({ name, hash }) => [name, hash]);
        const key = [hashes, plan.matrices, plan.factors, table.recipe, pass?.alpha, tokens, backendOf(context)];
        const between = cachePath(context, 'packed', key, '');
        await makeRoom(context, between);
        let finished: Written;
        const release = await holdEntry(context, between);
        try {
          const written = await job.timed('decompose', () =>
            writePacked(context, opened, options, { ...job, out: between, overwrite: false }),
          );
          const { delivered } = await job.timed('export', async () =>
            dense.run({
              pipeline: context,
              index: await openComplete(context.files, between),
              out,
              overwrite: job.overwrite,
            }),
          );
          const { shards } = await openComplete(context.files, out);
          finished = { ...written, delivered, bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0) };
        } finally {
          await release();
        }
        // Others may be at it still: the last one removes it.
        await removeUnlessUsed(context, between);
        return finished;
      },
    });
  },
};
