import type { Progress } from '../core/progress';
import type { TensorStatistics } from '../core/analysis/types';
import type { Model } from './model/models';
import { jobSettings } from './settings';
import type { Studio } from './studio';

/**
 * Computes the statistics of the given tensors, of all when absent, that are not known yet. Each is kept, and told to
 * whoever listens to the cache, as soon as it is there.
 * @returns how many were computed.
 */
export async function computeStatistics(
  studio: Pick<Studio, 'engine' | 'statistics'>,
  model: Model,
  tensors: readonly string[] | undefined,
  options: { signal?: AbortSignal; onProgress?: (progress: Progress) => void } = {},
): Promise<number> {
  const known = await studio.statistics.of(model);
  const missing = (tensors ?? model.tensors.map(tensor => tensor.name)).filter(name => !known.has(name));
  if (missing.length === 0) return 0;
  const seen = new Set<string>();
  const results = await studio.engine.request(
    'statistics',
    { ...jobSettings(), model: model.path, tensors: missing },
    {
      ...options,
      onProgress: progress => {
        options.onProgress?.(progress);
        // The stage's pieces are whole statistics of one tensor.
        const piece = progress.partial as TensorStatistics | undefined;
        if (piece === undefined) return;
        seen.add(piece.name);
        void studio.statistics.add(model, [piece]);
      },
    },
  );
  const late = results.filter(result => !seen.has(result.name));
  if (late.length > 0) await studio.statistics.add(model, late);
  return results.length;
}
