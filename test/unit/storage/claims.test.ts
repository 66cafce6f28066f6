/** Claims between "processes" of one test: each has an identity of its own, and may die or fall silent. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  claimPath,
  once,
  readClaim,
  takeClaim,
  waitForClaim,
  type Claimant,
  type ClaimRecord,
} from '../../../extension/core/storage/claims';
import { nodeFiles } from '../../../extension/node/files';

const TIMEOUT = 400;
let folder: string;
let what: string;
let dead: Set<number>;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lq-claims-'));
  what = path.join(folder, 'thing');
  dead = new Set();
});
afterEach(() => rmSync(folder, { recursive: true }));

let pids = 100;
function someone(changes: Partial<Claimant> & { space?: string } = {}): Claimant {
  const pid = pids++;
  return {
    files: nodeFiles,
    self: { id: `host-${pid}`, host: 'host', space: changes.space ?? 'here', pid, alive: each => !dead.has(each) },
    signal: new AbortController().signal,
    claimTimeout: TIMEOUT,
    now: () => performance.now(),
    ...changes,
  };
}
const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
const nobody = (): void => undefined;

/** A process whose heartbeats stop reaching the file, as those of one that got SIGSTOP do. */
function stoppable(): { claimant: Claimant; stop(): void; resume(): void } {
  let stopped = false;
  const claimant = someone({
    space: 'elsewhere',
    files: {
      ...nodeFiles,
      async createExclusive(name, content) {
        const file = await nodeFiles.createExclusive(name, content);
        return file && { ...file, write: text => (stopped ? Promise.resolve() : file.write(text)) };
      },
    },
  });
  return { claimant, stop: () => (stopped = true), resume: () => (stopped = false) };
}

describe('a claim', () => {
  it('is of one process, of any number that try at once, and of another after its release', async () => {
    const takers = await Promise.all(Array.from({ length: 20 }, () => takeClaim(someone(), claimPath(what))));
    const [mine, ...others] = takers.filter(claim => claim !== undefined);
    expect(others).toEqual([]);
    expect(await mine!.held()).toBe(true);
    await mine!.release();
    expect(readdirSync(folder)).toEqual([]);
    const next = await takeClaim(someone(), claimPath(what));
    expect(next).toBeDefined();
    await next!.release();
  });

  it('says who holds it and how far the work is', async () => {
    const holder = someone();
    const claim = (await takeClaim(holder, claimPath(what)))!;
    claim.progress({ done: 3, total: 8 });
    await pause(TIMEOUT / 4);
    expect(await readClaim(nodeFiles, claimPath(what))).toMatchObject({
      host: 'host',
      pid: holder.self.pid,
      progress: { done: 3, total: 8 },
    });
    await claim.release();
  });

  it('stays with a process that works longer than the timeout', async () => {
    const claim = (await takeClaim(someone({ space: 'elsewhere' }), claimPath(what)))!;
    const waiter = waitForClaim(someone(), what, nobody);
    expect(await Promise.race([waiter, pause(2.5 * TIMEOUT).then(() => 'still waiting')])).toBe('still waiting');
    expect(await claim.held()).toBe(true);
    await claim.release();
    await (await waiter).release();
  });

  it('of a process of this machine that is gone is taken over at once', async () => {
    const gone = someone();
    await takeClaim({ ...gone, claimTimeout: 60_000 }, claimPath(what));
    dead.add(gone.self.pid);
    const started = performance.now();
    const claim = await waitForClaim(someone({ claimTimeout: 60_000 }), what, nobody);
    expect(performance.now() - started).toBeLessThan(1000);
    await claim.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('of a process that falls silent is taken over by one of those that wait, and it notices when it goes on', async () => {
    const { claimant, stop, resume } = stoppable();
    const first = (await takeClaim(claimant, claimPath(what)))!;
    stop();
    const atOnce: string[] = [];
    let most = 0;
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const claim = await waitForClaim(someone(), what, nobody);
        atOnce.push(`waiter ${i}`);
        most = Math.max(most, atOnce.length);
        expect(await first.held()).toBe(false);
        await pause(20);
        atOnce.splice(atOnce.indexOf(`waiter ${i}`), 1);
        await claim.release();
      }),
    );
    expect(most).toBe(1);
    const second = (await takeClaim(someone(), claimPath(what)))!;
    resume();
    await pause(TIMEOUT / 2);
    await first.release();
    expect(await second.held()).toBe(true);
    await second.release();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('once', () => {
  const file = (): string => path.join(folder, 'result');
  const find = async (): Promise<string | undefined> =>
    (await nodeFiles.stat(file())) === undefined ? undefined : readFileSync(file(), 'utf8');

  it('does the work once, tells the others who is at it, and gives all the result', async () => {
    let made = 0;
    const holders: ClaimRecord[] = [];
    const results = await Promise.all(
      Array.from({ length: 6 }, () => {
        const me = someone();
        return once(me, what, {
          find,
          async make(claim) {
            made++;
            claim.progress({ done: 1, total: 2 });
            await pause(100);
            await nodeFiles.writeAtomic(file(), 'done');
            return 'done';
          },
          onWait: holder => holders.push(holder),
        });
      }),
    );
    expect(results).toEqual(Array(6).fill('done'));
    expect(made).toBe(1);
    expect(new Set(holders.map(({ owner }) => owner)).size).toBe(1);
    expect(readdirSync(folder)).toEqual(['result']);
  });

  it('without waiting says that another is at it', async () => {
    const claim = (await takeClaim(someone(), claimPath(what)))!;
    const make = (): Promise<string> => Promise.reject(new Error('must not be made'));
    expect(await once(someone(), what, { find, make })).toBeUndefined();
    await claim.release();
  });

  it('lets the next one try when the first fails', async () => {
    const failing = once(someone(), what, { find, make: () => Promise.reject(new Error('no')), onWait: nobody });
    const trying = once(someone(), what, { find, make: () => Promise.resolve('made'), onWait: nobody });
    await expect(failing).rejects.toThrow('no');
    expect(await trying).toBe('made');
  });

  it('of a process that was stopped and goes on gives what the other made, and publishes nothing twice', async () => {
    const { claimant, stop, resume } = stoppable();
    const published: string[] = [];
    const work = (name: string, wait: Promise<void>) => ({
      find,
      async make(claim: { held(): Promise<boolean> }) {
        await wait;
        if (!(await claim.held())) return undefined;
        await nodeFiles.writeAtomic(file(), name);
        published.push(name);
        return name;
      },
      onWait: nobody,
    });
    let goOn = nobody;
    const stopped = once(claimant, what, work('stopped', new Promise(resolve => (goOn = resolve))));
    await pause(20);
    stop();
    expect(await once(someone(), what, work('other', Promise.resolve()))).toBe('other');
    resume();
    goOn();
    expect(await stopped).toBe('other');
    expect(published).toEqual(['other']);
    expect(readdirSync(folder)).toEqual(['result']);
  });

  it('stops waiting when cancelled', async () => {
    const claim = (await takeClaim(someone(), claimPath(what)))!;
    const abort = new AbortController();
    const waiting = once(someone({ signal: abort.signal }), what, { find, make: find, onWait: nobody });
    await pause(20);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await claim.release();
  });
});

it('a name is published once: the second file gives way', async () => {
  const to = path.join(folder, 'entry');
  for (const name of ['a', 'b']) await nodeFiles.writeAtomic(path.join(folder, name), name);
  expect(await nodeFiles.publish(path.join(folder, 'a'), to)).toBe(true);
  expect(await nodeFiles.publish(path.join(folder, 'b'), to)).toBe(false);
  expect(readFileSync(to, 'utf8')).toBe('a');
  expect(readdirSync(folder)).toEqual(['entry']);
});
