import { expect, it } from 'vitest';
import { CORPUS, openedPath } from '../../fuzz/corpus';
import { Random } from '../../fuzz/mutate';
import { damaged, outcome } from '../../fuzz/outcome';

it.each(Object.keys(CORPUS))('the undamaged checkpoint "%s" opens', async kind => {
  expect(await outcome(CORPUS[kind]!, openedPath(kind))).toMatch(/^opened/);
});

it('damaged checkpoints open with remarks or fail with a code', async () => {
  const seen = new Set<string>();
  for (let i = 0; i < 1500; i++) {
    const { path, folder } = damaged(new Random(i));
    seen.add(await outcome(folder, path));
  }
  // The damage reaches far enough in to matter: all kinds of refusals are among the outcomes.
  expect(seen.size).toBeGreaterThan(10);
});

it('a GGUF file in which any byte of the header is another opens with remarks or fails with a code', async () => {
  const sound = CORPUS['gguf']!['/m/model.gguf']!;
  // The header ends where the data's zeros begin.
  let end = sound.length;
  while (sound[end - 1] === 0) end--;
  const seen = new Set<string>();
  for (let at = 0; at < end; at++) {
    for (const value of [0, 0x7f, 0xff, sound[at]! ^ 0x80]) {
      if (value === sound[at]) continue;
      const file = Uint8Array.from(sound);
      file[at] = value;
      seen.add(await outcome({ '/m/model.gguf': file }, '/m'));
    }
  }
  expect(seen.size).toBeGreaterThan(8);
});
