/** A checkpoint in the making: interrupted, continued, copied, replaced, and refused. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { LqError } from '../../../extension/core/errors';
import { createPackedOutput } from '../../../extension/core/packed/writer';
import { nodeFiles } from '../../../extension/node/files';
import { bytesAt, context, ERRORS, newCache, RECIPE, writeAt } from './harness';
import { NAMES, failure, fill, folder, job, pack, source, usePackedModel } from './packed-model';

usePackedModel();

describe('a packed checkpoint', () => {
  it('is the same whatever it was interrupted by, and continues after what is done', async () => {
    await pack({ out: path.join(folder, 'whole') });
    newCache();
    const first = await createPackedOutput(context(), job);
    fill(first.layout.matrices[0]!.source);
    await first.markDone(NAMES[0], ERRORS);
    fill(first.layout.matrices[1]!.source);
    await first.keep();
    expect(existsSync(job.out)).toBe(false);

    const second = await createPackedOutput(context(), job);
    expect(NAMES.map(name => second.isDone(name))).toEqual([true, false]);
    expect(second.errors(NAMES[0])).toEqual(ERRORS);
    fill(second.layout.matrices[1]!.source);
    await second.markDone(NAMES[1], ERRORS);
    await second.finish();
    for (const name of readdirSync(path.join(folder, 'whole')))
      expect(readFileSync(path.join(job.out, name))).toEqual(readFileSync(path.join(folder, 'whole', name)));
    expect(readdirSync(folder).sort()).toEqual(['model', 'out', 'whole']);
  });

  it('starts over when the job is another one or a partial file was cut', async () => {
    const first = await createPackedOutput(context(), job);
    await first.markDone(NAMES[0], ERRORS);
    await first.keep();
    const other = { ...job, recipe: { ...RECIPE, method: { ...RECIPE.method, seed: 2 } } };
    const second = await createPackedOutput(context(), other);
    expect(second.isDone(NAMES[0])).toBe(false);
    await second.markDone(NAMES[0], ERRORS);
    await second.keep();
    writeFileSync(path.join(`${job.out}.partial`, 'lq-model-00001-of-00002.safetensors'), 'short');
    expect((await createPackedOutput(context(), other)).isDone(NAMES[0])).toBe(false);
  });

  it('is the result of whoever finished the very same job, when asked to be', async () => {
    await pack();
    const adopted = await createPackedOutput(context(), { ...job, adopt: true });
    expect(NAMES.map(name => adopted.isDone(name))).toEqual([true, true]);
    expect(adopted.errors(NAMES[1])).toEqual(ERRORS);
    expect((await adopted.finish()).files.sort()).toEqual(readdirSync(job.out).sort());
    const other = { ...job, adopt: true, factors: 'bf16' as const };
    expect((await failure(createPackedOutput(context(), other))).code).toBe('output-exists');
    expect(readdirSync(folder).sort()).toEqual(['model', 'out']);
  });

  it('is made once, wherever it is to go: others wait for it and copy it while it is unchanged', async () => {
    const first = await createPackedOutput(context(), job);
    const elsewhere = { ...job, out: path.join(folder, 'elsewhere') };
    const waiting: string[] = [];
    const second = createPackedOutput(
      { ...context(), report: ({ waitingFor }) => waiting.push(waitingFor!) },
      elsewhere,
    );
    for (const { name, source: place } of first.layout.matrices) {
      fill(place);
      await first.markDone(name, ERRORS);
    }
    await first.finish();
    const copied = await second;
    expect(waiting.length).toBeGreaterThan(0);
    expect(NAMES.map(name => copied.isDone(name))).toEqual([true, true]);
    expect(copied.errors(NAMES[1])).toEqual(ERRORS);
    await copied.finish();
    for (const name of readdirSync(job.out))
      expect(readFileSync(path.join(elsewhere.out, name)), name).toEqual(readFileSync(path.join(job.out, name)));
    // Of what was changed since nothing is taken.
    for (const made of [job.out, elsewhere.out])
      writeFileSync(path.join(made, 'lq-model-00001-of-00002.safetensors'), 'damaged');
    expect((await createPackedOutput(context(), { ...job, out: path.join(folder, 'third') })).isDone(NAMES[0])).toBe(
      false,
    );
  });

  it('starts over when a tensor that it keeps was changed in the source', async () => {
    const first = await createPackedOutput(context(), job);
    await first.markDone(NAMES[0], ERRORS);
    await first.keep();
    const { file, offset } = source.byName.get('model.embed_tokens.weight')!;
    writeAt({ path: file, offset }, Uint8Array.of(0x12, 0x34));
    const second = await createPackedOutput(context(), job);
    expect(second.isDone(NAMES[0])).toBe(false);
    const kept = second.layout.copies.find(({ name }) => name === 'model.embed_tokens.weight')!;
    expect([...bytesAt(kept.to).subarray(0, 2)]).toEqual([0x12, 0x34]);
    await second.keep();
    await pack({ out: path.join(folder, 'finished') });
    writeAt({ path: file, offset }, Uint8Array.of(0x56, 0x78));
    expect((await createPackedOutput(context(), job)).isDone(NAMES[0])).toBe(false);
  });

  it('that is replaced is the old or the new one after a crash between its two renames', async () => {
    await pack();
    const before = readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8');
    const next = { ...job, recipe: { ...RECIPE, method: { ...RECIPE.method, seed: 2 } }, overwrite: true };
    const dying = context({
      // The first rename sets the old folder aside; nothing is done after.
      rename: (from, to) => (from === job.out ? nodeFiles.rename(from, to) : Promise.reject(new Error('killed'))),
    });
    const output = await createPackedOutput(dying, next);
    for (const { name, source: place } of output.layout.matrices) {
      fill(place);
      await output.markDone(name, ERRORS);
    }
    await expect(output.finish()).rejects.toThrow('killed');
    expect(existsSync(job.out)).toBe(false);
    await output.keep();
    // A run that may not replace it finds the old one where it was, another finishes the new one.
    expect((await failure(createPackedOutput(context(), { ...next, overwrite: false }))).code).toBe('output-exists');
    expect(readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8')).toBe(before);
    const again = await createPackedOutput(context(), next);
    expect(NAMES.map(name => again.isDone(name))).toEqual([true, true]);
    await again.finish();
    expect(readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8')).not.toBe(before);
    expect(readdirSync(folder).sort()).toEqual(['model', 'out']);
  });

  it('refuses to go on once another process has taken over', async () => {
    const first = await createPackedOutput(context(), job);
    await first.markDone(NAMES[0], ERRORS);
    // What another process does after the heartbeat stopped for too long.
    rmSync(`${job.out}.claim`);
    newCache();
    const second = await createPackedOutput(context(), job);
    expect(second.isDone(NAMES[0])).toBe(true);
    for (const late of [() => first.markDone(NAMES[1], ERRORS), () => first.requireHeld(), () => first.finish()])
      expect((await failure(late())).code).toBe('output-exists');
    await first.keep();
    await second.markDone(NAMES[1], ERRORS);
    await second.finish();
    expect(readdirSync(folder).sort()).toEqual(['model', 'out']);
  });

  it('never replaces what it should not', async () => {
    await pack();
    expect((await failure(createPackedOutput(context(), job))).code).toBe('output-exists');
    await pack({ overwrite: true });
    expect((await failure(createPackedOutput(context(), { ...job, out: source.folder, overwrite: true }))).code).toBe(
      'usage',
    );
    expect((await failure(createPackedOutput(context(), { ...job, out: folder, overwrite: true }))).code).toBe('usage');
    const letters = path.join(folder, 'letters');
    mkdirSync(letters);
    writeFileSync(path.join(letters, 'dear.txt'), 'keep me');
    const refused = await failure(createPackedOutput(context(), { ...job, out: letters, overwrite: true }));
    expect(refused.code).toBe('output-exists');
    expect(readdirSync(letters)).toEqual(['dear.txt']);
  });

  it.each([
    ['too small for all files together', { freeBytes: () => Promise.resolve(2500) }],
    ['filled by somebody else meanwhile', { allocate: () => Promise.reject(new LqError('disk-full', 'full')) }],
  ])('leaves nothing on a disk %s', async (_, files) => {
    expect((await failure(createPackedOutput(context(files), job))).code).toBe('disk-full');
    expect(readdirSync(folder)).toEqual(['model']);
  });
});
