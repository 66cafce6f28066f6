/** Answers protocol requests: cancellation, progress and typed errors around the handlers, whatever the transport. */
import { ErrorCodes, ResponseError, type CancellationToken, type MessageConnection } from 'vscode-jsonrpc/node';
import { LqError, type ErrorData } from '../core/errors';
import type { EngineMethod, EngineParams, EngineResult } from '../protocol/engine';
import type { Progress } from '../core/progress';

/** What a handler may use besides its parameters. */
export interface Job {
  signal: AbortSignal;
  report: (progress: Progress) => void;
  log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

export type Handlers = {
  [M in EngineMethod]: (params: EngineParams<M>, job: Job) => Promise<EngineResult<M>> | EngineResult<M>;
};

/** Progress more often than this is dropped, unless it carries a finished piece or closes a stage. */
const PROGRESS_INTERVAL_MS = 50;

/** Registers every handler on a connection. */
export function serve(connection: MessageConnection, handlers: Handlers): void {
  const log: Job['log'] = (level, message) => void connection.sendNotification('log', { level, message });
  const register = <M extends EngineMethod>(method: M): void => {
    connection.onRequest(
      method,
      async (envelope: { request: number; params: EngineParams<M> }, token: CancellationToken) => {
        const abort = new AbortController();
        if (token.isCancellationRequested) abort.abort();
        const subscription = token.onCancellationRequested(() => abort.abort());
        let last = 0;
        const report = (progress: Progress): void => {
          const now = Date.now();
          if (progress.partial === undefined && progress.done < progress.total && now - last < PROGRESS_INTERVAL_MS)
            return;
          last = now;
          void connection.sendNotification('progress', { request: envelope.request, progress });
        };
        try {
          return await handlers[method](envelope.params, { signal: abort.signal, report, log });
        } catch (error) {
          const failure = LqError.from(error);
          if (failure.code === 'internal') log('error', error instanceof Error ? (error.stack ?? error.message) : '');
          return new ResponseError<ErrorData>(ErrorCodes.InternalError, failure.message, failure.toJSON());
        } finally {
          subscription.dispose();
        }
      },
    );
  };
  for (const method of Object.keys(handlers) as EngineMethod[]) register(method);
}
