/** The engine as its users see it, whoever starts it: one typed call with progress and cancellation. */
import type { EngineMethod, EngineParams, EngineResult } from './engine';
import type { Progress } from '../core/progress';

export interface EngineClient {
  /** Starts the engine on first need. Rejects with LqError: the engine's own, `engine-died`, or `cancelled`. */
  request<M extends EngineMethod>(
    method: M,
    params: EngineParams<M>,
    options?: { signal?: AbortSignal; onProgress?: (progress: Progress) => void },
  ): Promise<EngineResult<M>>;
  /** Process state, for a status item. */
  readonly state: 'stopped' | 'starting' | 'running' | 'failed';
  /** Of the running engine, for messages and for tests that kill it. */
  readonly pid: number | undefined;
  onStateChange(listener: (state: EngineClient['state'], reason?: string) => void): () => void;
  dispose(): void;
}
