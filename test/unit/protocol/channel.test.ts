import { describe, expect, it, vi } from 'vitest';
import { LqError } from '../../../extension/core/errors';
import * as v from 'valibot';
import {
  connect,
  serve,
  type Handlers,
  type Message,
  type Port,
  type RequestSchemas,
} from '../../../extension/protocol/channel';

interface Requests {
  add: [{ a: number; b: number; note?: string }, number];
  wait: [null, null];
}
interface Events {
  ticks: number[];
}
const schemas: RequestSchemas<Requests> = {
  add: v.strictObject({ a: v.number(), b: v.number(), note: v.exactOptional(v.string()) }),
  wait: v.null(),
};

/** Two ends joined by JSON, as a webview's are. */
function wire(): { a: Port; b: Port; seen: Message[] } {
  const seen: Message[] = [];
  const ears: [((m: unknown) => void)[], ((m: unknown) => void)[]] = [[], []];
  const end = (mine: 0 | 1, other: 0 | 1): Port => ({
    post: message => {
      seen.push(message);
      const copy: unknown = JSON.parse(JSON.stringify(message));
      for (const ear of ears[other]) ear(copy);
    },
    listen: receive => {
      ears[mine].push(receive);
      return () => void ears[mine].splice(ears[mine].indexOf(receive), 1);
    },
  });
  return { a: end(0, 1), b: end(1, 0), seen };
}

function join(handlers: Partial<Handlers<Requests>> = {}) {
  const { a, b, seen } = wire();
  const server = serve<Requests, Events>(b, schemas, {
    add: ({ a, b }) => a + b,
    wait: (_none, { signal }) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new LqError('cancelled', 'stopped'))),
      ),
    ...handlers,
  });
  return { client: connect<Requests, Events>(a), server, seen, port: a };
}

describe('channel', () => {
  it('answers a request and keeps answers apart when they arrive out of order', async () => {
    const gates: (() => void)[] = [];
    const { client } = join({ add: ({ a, b }) => new Promise(resolve => gates.push(() => resolve(a + b))) });
    const answers = [client.request('add', { a: 1, b: 2 }), client.request('add', { a: 10, b: 20 })];
    await Promise.resolve();
    gates[1]!();
    gates[0]!();
    expect(await Promise.all(answers)).toEqual([3, 30]);
  });

  it('answers with the error of a handler that throws, typed or not', async () => {
    const { client } = join({
      add: ({ a }) => {
        throw a ? new LqError('disk-full', 'No room', { file: '/x' }) : new TypeError('oops');
      },
    });
    await expect(client.request('add', { a: 1, b: 0 })).rejects.toMatchObject({ code: 'disk-full', file: '/x' });
    await expect(client.request('add', { a: 0, b: 0 })).rejects.toMatchObject({ code: 'internal', message: 'oops' });
  });

  it('answers malformed parameters and unknown methods, including names of Object.prototype, with an error', async () => {
    const { client, port } = join();
    await expect(client.request('add', { a: 1, b: 'two' } as never)).rejects.toMatchObject({
      code: 'usage',
      message: 'add: b: expected number, not "two"',
    });
    for (const method of ['nope', 'constructor', '__proto__']) {
      const reply = new Promise(resolve => port.listen(resolve));
      port.post({ kind: 'request', page: 'p', id: 99, method, params: null });
      expect(await reply).toMatchObject({ kind: 'reply', id: 99, ok: false, error: { code: 'usage' } });
    }
  });

  it('reports progress to the request it belongs to', async () => {
    const { client } = join({
      add: ({ a, b }, { progress }) => {
        progress({ stage: 'sweep', done: 1, total: 2, item: 'q' });
        return a + b;
      },
    });
    const onProgress = vi.fn();
    await client.request('add', { a: 1, b: 2 }, { onProgress });
    await client.request('add', { a: 1, b: 2 });
    expect(onProgress.mock.calls).toEqual([[{ stage: 'sweep', done: 1, total: 2, item: 'q' }]]);
  });

  it('cancels: the caller hears at once, the handler through its signal', async () => {
    let stopped = false;
    const { client, seen } = join({
      wait: (_none, { signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            stopped = true;
            reject(new LqError('cancelled', 'stopped'));
          }),
        ),
    });
    const abort = new AbortController();
    const answer = client.request('wait', null, { signal: abort.signal });
    abort.abort();
    await expect(answer).rejects.toMatchObject({ code: 'cancelled' });
    expect(stopped).toBe(true);
    await vi.waitFor(() => expect(seen.filter(m => m.kind === 'reply')).toHaveLength(1));
  });

  it('rejects everything pending when closed, and everything asked afterwards', async () => {
    const { client } = join();
    const answer = client.request('wait', null);
    client.close('gone');
    await expect(answer).rejects.toMatchObject({ code: 'cancelled', message: 'gone' });
    await expect(client.request('add', { a: 1, b: 2 })).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('delivers events to those who listen', () => {
    const { a, b } = wire();
    const client = connect<Requests, Events>(a);
    const server = serve<Requests, Events>(b, schemas, { add: () => 0, wait: () => null });
    const heard = vi.fn();
    const stop = client.on('ticks', heard);
    server.emit('ticks', [1, 2]);
    stop();
    server.emit('ticks', [3]);
    expect(heard.mock.calls).toEqual([[[1, 2]]]);
  });

  it('answers a reloaded page with its own answers only, and stops what its predecessor asked', async () => {
    const { a, b } = wire();
    const asked: { a: number; signal: AbortSignal; finish: (sum: number) => void }[] = [];
    serve<Requests, Events>(b, schemas, {
      add: ({ a: first }, { signal }) =>
        new Promise(resolve => asked.push({ a: first, signal, finish: sum => resolve(sum) })),
      wait: () => null,
    });
    const old = connect<Requests, Events>(a).request('add', { a: 1, b: 0 });
    const fresh = connect<Requests, Events>(a).request('add', { a: 2, b: 0 });
    const heard = vi.fn();
    void old.then(heard, heard);
    expect(asked.map(call => call.signal.aborted)).toEqual([true, false]);
    asked[0]!.finish(1);
    await new Promise(resolve => setTimeout(resolve));
    asked[1]!.finish(2);
    expect(await fresh).toBe(2);
    expect(heard).not.toHaveBeenCalled();
  });

  it('ignores messages of others on the same window', async () => {
    const { client, port } = join();
    for (const stranger of [null, 'hello', { type: 'x' }, { kind: 'reply', id: 7, ok: true }])
      port.post(stranger as never);
    expect(await client.request('add', { a: 1, b: 1 })).toBe(2);
  });
});
