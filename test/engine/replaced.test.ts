/**
 * `--overwrite`: before every single step of a run, and after one that dies there, the folder holds all of the old checkpoint or
 * all of the new one, and the same request then finishes and leaves nothing beside it. Where the file system cannot exchange
 * names, the folder is away for one moment, from which the next run takes it back.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { NativeModule } from '../../extension/core/native';
import { exportCheckpoint } from '../../extension/core/stages/export';
import { workFolder } from './running';
import { contentOf, tinyContext, writeTinyModel } from './tiny';
import { watchedFiles, watchedNative, type Watcher } from './watched';

const { folder, clean } = workFolder();
const old = path.join(folder, 'old');
const made = path.join(folder, 'made', 'out');
const work = path.join(folder, 'work');
const out = path.join(work, 'out');
const cache = path.join(folder, 'cache');

beforeAll(async () => {
  const model = writeTinyModel(folder);
  await exportCheckpoint(tinyContext(cache), { model, out: old, format: 'dense' });
  await exportCheckpoint(tinyContext(cache), { model, out: made, format: 'gguf' });
});
afterAll(clean);

type State = 'old' | 'new' | 'neither' | 'absent';

function stateOf(of: string): State {
  const found = contentOf(of);
  // Of the new one while its name is not flushed.
  found.delete('journal.json');
  if (found.size === 0) return 'absent';
  const is = (wanted: ReadonlyMap<string, Buffer>): boolean =>
    found.size === wanted.size && [...found].every(([name, content]) => wanted.get(name)?.equals(content) === true);
  return is(contentOf(old)) ? 'old' : is(contentOf(made)) ? 'new' : 'neither';
}

/** Whether the file system exchanges names, as it really does, or is made to say that it cannot. */
type Exchanges = 'exchanges' | 'cannot exchange';
const nativeOf = (exchanges: Exchanges, watch: Watcher): Partial<NativeModule> => ({
  ...watchedNative(watch),
  ...(exchanges === 'cannot exchange' && {
    exchange: () => {
      watch('native exchange', '');
      return Promise.resolve(false);
    },
  }),
});

/** Puts the old one there and replaces it, dying before the step of that number; the steps taken, with what was there before each. */
async function replace(exchanges: Exchanges, dieAt = Infinity): Promise<{ step: string; state: State }[]> {
  rmSync(cache, { recursive: true, force: true });
  rmSync(work, { recursive: true, force: true });
  cpSync(old, out, { recursive: true });
  const steps: { step: string; state: State }[] = [];
  const watch: Watcher = step => {
    steps.push({ step, state: stateOf(out) });
    if (steps.length > dieAt) throw new Error('killed');
  };
  const running = exportCheckpoint(tinyContext(cache, nativeOf(exchanges, watch), watchedFiles(watch)), request);
  // What is noted last is not missed: a run that cannot note it has succeeded.
  await (dieAt === Infinity ? running : running.catch(() => undefined));
  return steps;
}
const request = { model: path.join(folder, 'model'), out, format: 'gguf', overwrite: true } as const;

it.each<[Exchanges, string, State[]]>([
  ['exchanges', 'is there at every moment', ['old', 'new']],
  ['cannot exchange', 'is away for one moment, and put back', ['old', 'absent', 'new']],
])('where the file system %s, a folder that is replaced %s', async (exchanges, _, wanted) => {
  const steps = await replace(exchanges);
  expect([...new Set(steps.map(({ state }) => state))]).toEqual(wanted);
  // Up to the exchange a run that dies is continued as any other.
  for (let at = steps.findIndex(({ step }) => step === 'native exchange'); at < steps.length; at++) {
    await replace(exchanges, at);
    expect(wanted).toContain(stateOf(out));
    // What another process would take over.
    for (const name of readdirSync(work)) if (/\.(?:claim|removing)$/.test(name)) rmSync(path.join(work, name));
    rmSync(cache, { recursive: true, force: true });
    await exportCheckpoint(
      tinyContext(
        cache,
        nativeOf(exchanges, () => undefined),
      ),
      request,
    );
    expect([steps[at]!.step, stateOf(out), readdirSync(work)]).toEqual([steps[at]!.step, 'new', ['out']]);
  }
});
