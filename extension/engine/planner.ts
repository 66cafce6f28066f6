/**
 * Planning on a thread of its own: a solver takes up to seconds of pure JavaScript, during which the engine must still pass
 * on progress and hear a cancellation. The worker runs the engine's own bundle and keeps the tables it has prepared.
 */
import { parentPort, Worker } from 'node:worker_threads';
import { LqError, type ErrorData } from '../core/errors';
import { frontier, plan } from '../core/stages/plan';
import { nodeFiles } from '../node/files';

/** What can be asked: functions of files and a request. */
const methods = { plan, frontier };
type Methods = typeof methods;
type Method = keyof Methods;
type Params<M extends Method> = Parameters<Methods[M]>[1];
type Result<M extends Method> = Awaited<ReturnType<Methods[M]>>;

interface Question {
  id: number;
  method: Method;
  params: unknown;
}
type Answer = { id: number; result: unknown } | { id: number; error: ErrorData };

interface Pending {
  resolve: (result: never) => void;
  reject: (error: LqError) => void;
}

/** Starts its worker with the first question, and another after one that died. */
export class Planner {
  private worker: Worker | undefined;
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;

  /** @param bundle the script the worker runs; it calls `servePlanner` when it finds itself in a worker. */
  constructor(private readonly bundle: string) {}

  ask<M extends Method>(method: M, params: Params<M>, signal: AbortSignal): Promise<Result<M>> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(new LqError('cancelled', 'Cancelled.'));
      const id = this.nextId++;
      const settle =
        <T>(how: (value: T) => void) =>
        (value: T): void => {
          signal.removeEventListener('abort', cancel);
          this.pending.delete(id);
          how(value);
        };
      const fail = settle(reject);
      // The worker finishes what nobody waits for; it is over within seconds.
      const cancel = (): void => fail(new LqError('cancelled', 'Cancelled.'));
      signal.addEventListener('abort', cancel);
      this.pending.set(id, { resolve: settle(resolve), reject: fail });
      this.open().postMessage({ id, method, params } satisfies Question);
    });
  }

  private open(): Worker {
    if (this.worker) return this.worker;
    const worker = new Worker(this.bundle);
    // It must not keep the engine alive.
    worker.unref();
    worker.on('message', (answer: Answer) => {
      const waiting = this.pending.get(answer.id);
      if ('error' in answer) waiting?.reject(LqError.fromData(answer.error));
      else waiting?.resolve(answer.result as never);
    });
    worker.on('error', error => this.die(LqError.from(error)));
    worker.on('exit', () => this.die(new LqError('internal', 'The planning thread ended.')));
    return (this.worker = worker);
  }

  private die(reason: LqError): void {
    this.worker = undefined;
    for (const { reject } of [...this.pending.values()]) reject(reason);
  }
}

/** The worker's side. */
export function servePlanner(): void {
  const port = parentPort!;
  port.on('message', ({ id, method, params }: Question) => {
    const work = methods[method] as (files: typeof nodeFiles, params: unknown) => Promise<unknown>;
    work(nodeFiles, params).then(
      result => port.postMessage({ id, result } satisfies Answer),
      (error: unknown) => port.postMessage({ id, error: LqError.from(error).toJSON() } satisfies Answer),
    );
  });
}
