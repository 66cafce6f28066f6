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

/** Puts the old one there and replaces it, dying before the step of that number. */
async function replace(exchange: Partial<NativeModule>, dieAt: number): Promise<{ died: boolean; states: Set<State> }> {
  rmSync(cache, { recursive: true, force: true });
  rmSync(work, { recursive: true, force: true });
  cpSync(old, out, { recursive: true });
  const states = new Set<State>();
  let steps = 0;
  const watch: Watcher = () => {
    if (steps++ >= dieAt) throw new Error('killed');
    states.add(stateOf(out));
  };
  const native = { ...watchedNative(watch), ...exchange };
  const died = await exportCheckpoint(tinyContext(cache, native, watchedFiles(watch)), request).then(
    () => false,
    () => true,
  );
  states.add(stateOf(out));
  return { died, states };
}
const request = { model: path.join(folder, 'model'), out, format: 'gguf', overwrite: true } as const;

it.each<[string, Partial<NativeModule>, State[]]>([
  ['is there at every moment', {}, ['old', 'new']],
  [
    'is away for a moment where names cannot be exchanged, and is put back',
    { exchange: () => Promise.resolve(false) },
    ['old', 'absent', 'new'],
  ],
])('a folder that is replaced %s', async (_, exchange, wanted) => {
  const seen = new Set<State>();
  for (let step = 0, died = true; died; step++) {
    const found = await replace(exchange, step);
    died = found.died;
    for (const state of found.states) seen.add(state);
    // What another process would take over.
    for (const name of readdirSync(work)) if (name.endsWith('.claim')) rmSync(path.join(work, name));
    rmSync(cache, { recursive: true, force: true });
    await exportCheckpoint(tinyContext(cache, exchange), request);
    expect([step, stateOf(out), readdirSync(work)]).toEqual([step, 'new', ['out']]);
  }
  expect([...seen]).toEqual(wanted);
});
