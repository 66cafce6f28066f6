/**
 * A disk that becomes full just before, and so in the middle of, every kind of write of every request that writes: the error
 * is typed and names a file there, what was there before is intact, what is published is whole, and the same request then
 * finishes with the bytes of an undisturbed run. The disk is a real one, a tmpfs of a few megabytes.
 */
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { PipelineContext } from '../../extension/core/context';
import type { LqError } from '../../extension/core/errors';
import type { ConsumerId } from '../../extension/core/options/consumers';
import { compress } from '../../extension/core/pipeline';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { exportCheckpoint } from '../../extension/core/stages/export';
import { calibrate, fisher } from '../../extension/core/stages/statistics';
import { sweep } from '../../extension/core/stages/sweep';
import { mountSmallDisk, type SmallDisk } from './small-disk';
import { contentOf, frontierRequest, keepsCosts, paperRequest, tinyContext, WIDE, writeTinyModel } from './tiny';
import { watchedFiles, watchedNative, type Watcher } from './watched';
import { smallGrid, workFolder } from './running';

const { folder, clean } = workFolder();
let disk: SmallDisk;
let model: string;
let wide: string;
/** With low-rank parts. */
const packed = path.join(folder, 'packed');
beforeAll(async () => {
  disk = await mountSmallDisk(16);
  model = writeTinyModel(folder);
  wide = writeTinyModel(folder, false, WIDE);
  await compress(tinyContext(path.join(folder, 'packed-cache')), paperRequest(model, packed));
});
afterEach(() => {
  for (const name of ['out', 'out.partial', 'out.costs'])
    rmSync(path.join(disk.folder, name), { recursive: true, force: true });
});
afterAll(() => {
  disk.close();
  clean();
});

const text = (): { calibration: string; samples: number; context: number } => {
  const { calibration, samples, context } = frontierRequest(model, '');
  return { calibration: calibration!, samples: samples!, context: context! };
};
const plain = { method: 'lq-lora' as const, ranks: [4], plain: true, iterations: 2, grid: smallGrid };

/** Requests that write to `out`. */
const requests: Record<string, (context: PipelineContext, out: string) => Promise<unknown>> = {
  'compress, Fisher information': (context, out) => compress(context, paperRequest(model, out)),
  'compress, second pass': (context, out) => compress(context, frontierRequest(model, out)),
  'compress, dense': (context, out) =>
    compress(context, { ...paperRequest(model, out), format: 'dense', sweepOut: `${out}.costs` }),
  'compress for GGUF': (context, out) =>
    compress(context, { ...frontierRequest(model, out), for: 'gguf', budget: { kind: 'bits', value: 5 } }),
  fisher: (context, out) => fisher(context, { model, out, ...text() }),
  calibrate: (context, out) => calibrate(context, { model, out, ...text(), fisher: true }),
  sweep: (context, out) => sweep(context, { model, out, ...plain }),
  'export, dense': (context, out) => exportCheckpoint(context, { model, out, format: 'dense' }),
  'export, GGUF': (context, out) => exportCheckpoint(context, { model, out, format: 'gguf' }),
  'export, GGUF in parts': (context, out) =>
    exportCheckpoint(context, { model, out, format: 'gguf', splitSize: 400_000 }),
  'export, peft': (context, out) => exportCheckpoint(context, { model: packed, out, format: 'peft' }),
  'export, GGUF and LoRA': (context, out) => exportCheckpoint(context, { model: packed, out, format: 'gguf-lora' }),
  'compress for compressed-tensors': (context, out) => compress(context, forConsumer('compressed-tensors', out)),
  'compress for MLX': (context, out) => compress(context, forConsumer('mlx', out)),
  'compress for bitsandbytes': (context, out) => compress(context, forConsumer('bitsandbytes', out)),
  'compress for EXL3': (context, out) =>
    compress(context, {
      ...{ model: wide, out, for: 'exl3', plain: true, budget: { kind: 'bits', value: 2.5 } },
      include: ['*.q_proj.*', '*.k_proj.*'],
    }),
};
const forConsumer = (consumer: ConsumerId, out: string): CompressRequest => ({
  ...{ model, out, for: consumer, plain: true },
  budget: { kind: 'bits', value: consumer === 'bitsandbytes' ? 4.6 : 5 },
});

/** These take no room on this disk. */
const NEEDS_NO_ROOM = /^(?:makeFolder|rename|publish|remove|sync)$/;
/** Bytes left when the disk is full: none, or a page, which a write of more begins with. */
const LEFT = [0, 4096];
/** A file's bytes without the times and the passing names in it. */
const timeless = (content: Buffer): string => content.toString('latin1').replace(/"(?:seconds|out)":[^,}\]]*/g, '');

/** An operation and what it is done to, without what differs from one key or process to the next. */
const kindOf = (operation: string, file: string): string =>
  `${operation} ${file
    .replace(disk.folder, '')
    .replace(/[0-9a-f]{64}/, 'KEY')
    .replace(/[\w-]+-\d+-[0-9a-f]{8}-[\w-]+/g, 'OWNER')}`;

/** What is published in a cache is what an undisturbed run publishes, and no claim stays. */
function expectWhole(found: string, wanted: ReadonlyMap<string, Buffer>, where: string): void {
  for (const [name, content] of contentOf(found)) {
    // Paces, and what was seen of files of a time: for estimates alone. Where an output is that may be copied.
    if (/^(?:rates|known|output)/.test(name)) continue;
    expect(name.includes('.partial') && !name.startsWith('packed'), `${where}: ${name} stays`).toBe(false);
    if (name.startsWith('packed')) continue;
    expect(name.endsWith('.claim'), `${where}: ${name} stays`).toBe(false);
    expect(wanted.has(name), `${where}: ${name} is not in an undisturbed run`).toBe(true);
    const same = name.startsWith('sweep')
      ? keepsCosts(content, wanted.get(name)!)
      : timeless(content) === timeless(wanted.get(name)!);
    expect(same, `${where}: ${name} differs`).toBe(true);
  }
}

function expectSame(found: ReadonlyMap<string, Buffer>, wanted: ReadonlyMap<string, Buffer>): void {
  expect([...found.keys()]).toEqual([...wanted.keys()]);
  for (const [name, content] of found)
    expect(timeless(content) === timeless(wanted.get(name)!), `${name} differs`).toBe(true);
}

// The cache is kept from one request to the next: each meets the writes that are new.
it.each(Object.entries(requests))(
  '%s',
  async (_, run) => {
    const cache = path.join(disk.folder, 'cache');
    const undisturbedCache = path.join(folder, 'cache');
    const out = path.join(disk.folder, 'out');
    const results = (): Map<string, Buffer> =>
      new Map([...contentOf(disk.folder)].filter(([name]) => !name.startsWith('cache')));

    await run(tinyContext(undisturbedCache), out);
    const [wanted, wantedCache] = [results(), contentOf(undisturbedCache)];
    rmSync(out, { recursive: true });

    /** Kinds of writes that met a full disk. */
    const met = new Set<string>();
    let failures = 0;
    for (let kind: string | undefined; ; kind = undefined) {
      let error: unknown;
      const fillOnce: Watcher = (operation, file) => {
        const own = kindOf(operation, file);
        if (kind !== undefined || met.has(own) || NEEDS_NO_ROOM.test(operation)) return;
        kind = own;
        met.add(own);
        disk.fill(LEFT[met.size % LEFT.length]!);
      };
      await run(tinyContext(cache, watchedNative(fillOnce), watchedFiles(fillOnce)), out).catch(
        (thrown: unknown) => (error = thrown),
      );
      disk.free();
      if (kind === undefined) {
        expect(error).toBeUndefined();
        break;
      }
      if (error === undefined) {
        // What needs no room does not fail.
        rmSync(out, { recursive: true });
        continue;
      }
      failures++;
      expect(error, `${kind}: ${(error as Error).message}`).toMatchObject({ code: 'disk-full' });
      expect((error as LqError).file, kind).toContain(disk.folder);
      expect(existsSync(out), kind).toBe(false);
      expectWhole(cache, wantedCache, kind);
    }
    expect(failures).toBeGreaterThan(met.size / 3);
    expectSame(results(), wanted);
    expectWhole(cache, wantedCache, 'the end');
  },
  600_000,
);

it('a folder that is to be replaced stays until the new one is whole', async () => {
  const out = path.join(disk.folder, 'old');
  const cache = path.join(disk.folder, 'cache');
  await exportCheckpoint(tinyContext(cache), { model, out, format: 'dense' });
  const old = contentOf(out);
  const request = { ...paperRequest(model, out), overwrite: true };
  for (const at of ['native copy', 'native decompose', 'writeAtomic', 'copyFile']) {
    const watch: Watcher = (operation, file) => {
      if (operation === at && (operation.startsWith('native') || file.startsWith(`${out}.partial`))) disk.fill(0);
    };
    const context = tinyContext(cache, watchedNative(watch), watchedFiles(watch));
    await expect(compress(context, request), at).rejects.toMatchObject({ code: 'disk-full' });
    disk.free();
    expectSame(contentOf(out), old);
  }
  await compress(tinyContext(cache), request);
  expect([...contentOf(out).keys()]).toContain('lq_studio.json');
});
