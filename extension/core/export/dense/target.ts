/** Dense weights of a compressed checkpoint: packed into the cache first, so that a run that fails does not encode again. */
import type { Target } from '../target';
import { openComplete } from '../../opened';
import { cachePath, makeRoom } from '../../storage/cache';
import { preparePacked, writePacked } from '../packed/target';
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
      async write(context, job) {
        const { out, plan, table, secondPass: pass } = job;
        const tokens = pass && context.digest(pass.windows.tokens.join());
        const between = cachePath(context, 'packed', [out, plan, table.recipe, pass?.alpha, tokens], '');
        await makeRoom(context, between);
        await job.hold(between);
        const written = await job.timed('decompose', () =>
          writePacked(context, opened, options, { ...job, out: between, overwrite: false }),
        );
        await job.timed('export', async () =>
          dense.run({
            pipeline: context,
            index: await openComplete(context.files, between),
            out,
            overwrite: job.overwrite,
          }),
        );
        await context.files.remove(between);
        const { shards } = await openComplete(context.files, out);
        return { ...written, bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0) };
      },
    });
  },
};
