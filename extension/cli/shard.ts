/** A worker's part of a sweep, for commands that take `--shard`. */
import type { ShardReport } from '../core/sensitivity/types';
import type { SweepShardRequest } from '../core/requests/requests';
import type { Invocation } from './command';

/** Does the part and prints its report as one line of JSON. */
export async function runShard(
  { engine, terminal, signal }: Pick<Invocation<unknown>, 'engine' | 'terminal' | 'signal'>,
  request: SweepShardRequest,
): Promise<ShardReport> {
  const report = await engine.request('sweepShard', request, { signal, onProgress: terminal.progress });
  terminal.print(JSON.stringify(report));
  return report;
}
