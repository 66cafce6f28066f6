import { formatBytes, formatProgress } from '../../core/format';
import { cacheRequest } from '../../core/requests/requests';
import { cacheUsage } from '../../core/storage/cache-folder';
import { cleanFolder, jobsOf, workersOf } from '../../node/cache';
import { nodeFiles } from '../../node/files';
import { define } from '../command';

export const cacheCommand = define({
  summary:
    'Show what the cache of reusable results holds and who is at work on it, or remove results from it; other files are never touched.',
  request: cacheRequest,
  examples: ['lq-studio cache --limit 20GB', 'lq-studio cache --clear --cache /scratch/lq-studio'],
  async run({ request: { cache, limit, clear }, terminal }) {
    const folder = cache!;
    if (limit === undefined && clear !== true) {
      const usage = await cacheUsage(nodeFiles, folder);
      terminal.print(`${folder}: ${usage.entries} results, ${formatBytes(usage.bytes)}`);
      const jobs = await jobsOf(folder);
      for (const { label, stages, workers } of jobs) {
        const shares = stages.map(({ stage, done, total }) =>
          formatProgress({ stage, done, total, count: { done, total } }),
        );
        const hosts = [...new Set(workers.map(({ host }) => host))].join(', ');
        terminal.print(`  ${label}: ${shares.join('; ')}; ${workers.length} at work (${hosts})`);
      }
      const workers = await workersOf(folder);
      for (const { kind, host, pid, share } of workers)
        terminal.print(`  ${kind}: ${host} (process ${pid}), ${Math.floor(100 * share)} %`);
      return { folder, ...usage, jobs, atWork: workers };
    }
    const cleaned = await cleanFolder(folder, limit ?? 0);
    const kept = cleaned.inUse > 0 ? `; ${cleaned.inUse} in use were kept` : '';
    terminal.print(
      `Removed ${cleaned.removedEntries} results, ${formatBytes(cleaned.removedBytes)}${kept}. ` +
        `${cleaned.entries} results, ${formatBytes(cleaned.bytes)} are left in ${folder}.`,
    );
    return { folder, ...cleaned };
  },
});
