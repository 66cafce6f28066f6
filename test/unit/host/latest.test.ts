import { describe, expect, it } from 'vitest';
import { LatestWins } from '../../../extension/host/model/latest';

/** A call that ends when the test says. */
function controlled() {
  const calls: { params: number; signal: AbortSignal; finish: (result: string) => void }[] = [];
  const run = (params: number, signal: AbortSignal) =>
    new Promise<string>((finish, fail) => {
      calls.push({ params, signal, finish });
      signal.addEventListener('abort', () => fail(new Error('aborted')));
    });
  return { calls, run };
}
const outcome = (promise: Promise<string>) =>
  promise.then(
    result => result,
    (error: unknown) => `rejected: ${(error as Error).message}`,
  );
const tick = () => new Promise(resolve => setImmediate(resolve));

describe('LatestWins', () => {
  it('runs one at a time and of those that wait only the newest', async () => {
    const { calls, run } = controlled();
    const latest = new LatestWins(run);
    const results = [1, 2, 3].map(params => outcome(latest.call(params)));
    await tick();
    expect(calls.map(call => call.params)).toEqual([1]);
    calls[0]!.finish('one');
    await tick();
    expect(calls.map(call => call.params)).toEqual([1, 3]);
    calls[1]!.finish('three');
    expect(await Promise.all(results)).toEqual(['one', 'rejected: A newer request took its place.', 'three']);
  });

  it('stops a running call that a newer one overtakes', async () => {
    const { calls, run } = controlled();
    const latest = new LatestWins(run, running => running === 1);
    const first = outcome(latest.call(1));
    const second = outcome(latest.call(2));
    expect(await first).toBe('rejected: aborted');
    await tick();
    calls[1]!.finish('two');
    expect(await second).toBe('two');
  });

  it('goes on after a failure', async () => {
    let count = 0;
    const latest = new LatestWins((params: number) =>
      count++ === 0 ? Promise.reject(new Error('no')) : Promise.resolve(`${params}`),
    );
    expect(await outcome(latest.call(1))).toBe('rejected: no');
    expect(await outcome(latest.call(2))).toBe('2');
  });

  it('answers everything when it is disposed of', async () => {
    const { run } = controlled();
    const latest = new LatestWins(run);
    const results = [outcome(latest.call(1)), outcome(latest.call(2))];
    latest.dispose();
    expect(await Promise.all(results)).toEqual(['rejected: aborted', 'rejected: The panel was closed.']);
  });
});
