/**
 * A typed channel over anything that posts messages: requests with ids, exactly one answer each, progress, cancellation and
 * pushed events. Pure; both ends of a panel use it. A request cannot stay unanswered: a handler that throws answers with
 * its error, an unknown method or a malformed parameter answers with an error, and `close` rejects whatever is pending.
 */
import * as v from 'valibot';
import { LqError, type ErrorData } from '../core/errors';
import type { Progress } from '../core/progress';
import { describeIssue } from '../core/requests/describe';

/** `page` names the client that counts the ids: a reloaded page begins again at 1 and must not get its predecessor's answers. */
export type Message =
  | { kind: 'request'; page: string; id: number; method: string; params: unknown }
  | { kind: 'cancel'; page: string; id: number }
  | { kind: 'progress'; page: string; id: number; progress: Progress }
  | { kind: 'reply'; page: string; id: number; ok: true; result: unknown }
  | { kind: 'reply'; page: string; id: number; ok: false; error: ErrorData }
  | { kind: 'event'; event: string; data: unknown };

/** One end of a wire. `listen` returns the function that stops listening. */
export interface Port {
  post(message: Message): void;
  listen(receive: (message: unknown) => void): () => void;
}

/** Method -> [params, result]; event -> data. */
export type RequestMap<R> = Record<keyof R, [unknown, unknown]>;

/** What the parameters of every request must be: the end that answers trusts none. */
export type RequestSchemas<R extends RequestMap<R>> = { [M in keyof R]: v.GenericSchema<unknown, R[M][0]> };

/** What a handler is given beside its parameters. */
interface RequestContext {
  /** Aborted when the other end cancels, another page takes its place, or the channel closes. */
  signal: AbortSignal;
  progress(progress: Progress): void;
}
export type Handlers<R extends RequestMap<R>> = {
  [M in keyof R]: (params: R[M][0], context: RequestContext) => R[M][1] | Promise<R[M][1]>;
};

export interface ServerEnd<E> {
  emit<K extends keyof E & string>(event: K, data: E[K]): void;
  close(): void;
}

export interface ClientEnd<R extends RequestMap<R>, E> {
  /** Rejects with LqError: the handler's own, `cancelled`, or `internal` for an answer without one. */
  request<M extends keyof R & string>(
    method: M,
    params: R[M][0],
    options?: { signal?: AbortSignal; onProgress?: (progress: Progress) => void },
  ): Promise<R[M][1]>;
  readonly on: <K extends keyof E & string>(event: K, listener: (data: E[K]) => void) => () => void;
  close(reason?: string): void;
}

/** Whatever was thrown, as the data that panels show. */
export const describeError = (error: unknown): ErrorData => LqError.from(error).toJSON();

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const owns = (record: object, key: string): boolean => Object.prototype.hasOwnProperty.call(record, key);

/**
 * Answers requests. Messages that are not of this protocol are ignored, since a window also receives other people's.
 * @param onProtocolError told about malformed requests, for a log.
 */
export function serve<R extends RequestMap<R>, E>(
  port: Port,
  schemas: RequestSchemas<R>,
  handlers: Handlers<R>,
  onProtocolError: (error: LqError) => void = () => undefined,
): ServerEnd<E> {
  const running = new Map<number, AbortController>();
  let closed = false;
  let current: string | undefined;

  /** A page that was loaded anew asks nothing about what the one before it wanted. */
  const turnTo = (page: string): void => {
    if (page === current) return;
    for (const controller of running.values()) controller.abort();
    running.clear();
    current = page;
  };

  const answer = async (page: string, id: number, method: string, params: unknown): Promise<void> => {
    const controller = new AbortController();
    running.set(id, controller);
    const post = (message: Message) => {
      if (!closed && page === current) port.post(message);
    };
    try {
      if (!owns(schemas, method)) throw new LqError('usage', `No such request: ${method.slice(0, 100)}`);
      const name = method as keyof R & string;
      const checked = v.safeParse(schemas[name], params, { abortEarly: true });
      if (!checked.success) {
        const error = new LqError('usage', `${name}: ${describeIssue(checked.issues[0])}`);
        onProtocolError(error);
        throw error;
      }
      const result = await handlers[name](checked.output, {
        signal: controller.signal,
        progress: progress => post({ kind: 'progress', page, id, progress }),
      });
      post({ kind: 'reply', page, id, ok: true, result });
    } catch (error) {
      post({ kind: 'reply', page, id, ok: false, error: LqError.from(error).toJSON() });
    } finally {
      if (running.get(id) === controller) running.delete(id);
    }
  };

  const stop = port.listen(message => {
    if (!isRecord(message) || typeof message['id'] !== 'number' || typeof message['page'] !== 'string') return;
    const { kind, id, page } = message as { kind: unknown; id: number; page: string };
    if (kind === 'cancel' && page === current) running.get(id)?.abort();
    if (kind === 'request' && typeof message['method'] === 'string') {
      turnTo(page);
      void answer(page, id, message['method'], message['params']);
    }
  });

  return {
    emit: (event, data) => {
      if (!closed) port.post({ kind: 'event', event, data });
    },
    close: () => {
      closed = true;
      stop();
      for (const controller of running.values()) controller.abort();
    },
  };
}

interface Pending {
  method: string;
  resolve(result: unknown): void;
  reject(error: LqError): void;
  onProgress: ((progress: Progress) => void) | undefined;
}

/** Makes requests and hears events. Answers come from the same build, whose types the compiler has checked. */
export function connect<R extends RequestMap<R>, E>(port: Port): ClientEnd<R, E> {
  const page = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const pending = new Map<number, Pending>();
  const listeners = new Map<string, Set<(data: unknown) => void>>();
  let nextId = 1;
  let closedBecause: string | undefined;

  const settle = (id: number, message: Record<string, unknown>): void => {
    const call = pending.get(id);
    if (!call) return;
    if (message['kind'] === 'progress') {
      if (isRecord(message['progress'])) call.onProgress?.(message['progress'] as unknown as Progress);
      return;
    }
    pending.delete(id);
    if (message['ok'] === true) call.resolve(message['result']);
    else {
      const error = message['error'];
      const data =
        isRecord(error) && typeof error['message'] === 'string' ? (error as unknown as ErrorData) : undefined;
      call.reject(data ? LqError.fromData(data) : new LqError('internal', `${call.method}: the answer has no error`));
    }
  };

  const stop = port.listen(message => {
    if (!isRecord(message)) return;
    const kind = message['kind'];
    const ours = (kind === 'reply' || kind === 'progress') && message['page'] === page;
    if (ours && typeof message['id'] === 'number') settle(message['id'], message);
    if (kind === 'event' && typeof message['event'] === 'string') {
      for (const listener of listeners.get(message['event']) ?? []) listener(message['data']);
    }
  });

  return {
    request: (method, params, options = {}) =>
      new Promise((resolve, reject) => {
        if (closedBecause !== undefined) return reject(new LqError('cancelled', closedBecause));
        if (options.signal?.aborted) return reject(new LqError('cancelled', 'Cancelled'));
        const id = nextId++;
        const cancel = () => {
          if (pending.delete(id)) {
            port.post({ kind: 'cancel', page, id });
            reject(new LqError('cancelled', 'Cancelled'));
          }
        };
        const finish = () => options.signal?.removeEventListener('abort', cancel);
        pending.set(id, {
          method,
          resolve: result => {
            finish();
            resolve(result);
          },
          reject: error => {
            finish();
            reject(error);
          },
          onProgress: options.onProgress,
        });
        options.signal?.addEventListener('abort', cancel, { once: true });
        port.post({ kind: 'request', page, id, method, params });
      }),
    on: (event, listener) => {
      const heard = listeners.get(event) ?? new Set();
      listeners.set(event, heard.add(listener as (data: unknown) => void));
      return () => heard.delete(listener as (data: unknown) => void);
    },
    close: (reason = 'The panel was closed') => {
      closedBecause = reason;
      stop();
      for (const call of pending.values()) call.reject(new LqError('cancelled', reason));
      pending.clear();
    },
  };
}
