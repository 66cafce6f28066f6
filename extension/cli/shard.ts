/** A worker's part of what several share by their cache, for commands that take `--shard`. */
import type { EngineParams } from '../protocol/engine';
import type { ShardReport } from '../core/sensitivity/types';
import type { Invocation } from './command';

/** Does the part and prints its report as one line of JSON. */
export async function runShard<M extends 'sweepShard' | 'compressShard'>(
  { engine, terminal, signal }: Pick<Invocation<unknown>, 'engine' | 'terminal' | 'signal'>,
  part: M,
  request: EngineParams<M>,
): Promise<ShardReport> {
  const report: ShardReport = await engine.request(part, request, { signal, onProgress: terminal.progress });
  terminal.print(JSON.stringify(report));
  return report;
}
