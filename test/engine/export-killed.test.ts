/**
 * Every writer of a folder killed half-way: nothing is under the folder's name, the source is as it was, and the same request then
 * gives what an undisturbed one gives. And what is in the way is never touched.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PipelineContext } from '../../extension/core/context';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { ConsumerId } from '../../extension/core/options/consumers';
import { compress } from '../../extension/core/pipeline';
import { exportCheckpoint } from '../../extension/core/stages/export';
import type { CompressRequest, ExportRequest } from '../../extension/core/requests/requests';
import { nodeFiles } from '../../extension/node/files';
import { startEngine, workFolder } from './running';
import { contentOf, paperRequest, tinyContext, WIDE, writeTinyModel } from './tiny';

const { folder, clean } = workFolder();
const packed = path.join(folder, 'packed');
let model: string;
let wide: string;
beforeAll(async () => {
  model = writeTinyModel(folder);
  wide = writeTinyModel(folder, false, WIDE);
  await compress(tinyContext(path.join(folder, 'packed-cache')), paperRequest(model, packed));
});
afterAll(clean);

interface Case {
  readonly label: string;
  readonly source: () => string;
  readonly compress?: (out: string) => CompressRequest;
  readonly export?: (out: string) => ExportRequest;
}

/** Trellises of 2^16 states take their time. */
const FEW = { include: ['*.q_proj.*', '*.k_proj.*'] };
const target = (consumer: ConsumerId, bits: number, source = (): string => model, more = {}): Case => ({
  label: `compress for ${consumer}`,
  source,
  compress: out => ({
    ...{ model: source(), out, for: consumer, plain: true, budget: { kind: 'bits', value: bits }, precision: 'fp32' },
    ...more,
  }),
});
const exported = (format: string, source: () => string): Case => ({
  label: `export, ${format}`,
  source,
  export: out => ({ model: source(), out, format }),
});
const cases: readonly Case[] = [
  target('gguf', 5),
  target('compressed-tensors', 5),
  target('mlx', 5),
  target('bitsandbytes', 4.6),
  target('exl3', 2.5, () => wide, FEW),
  exported('gguf', () => model),
  exported('gguf-lora', () => packed),
  exported('peft', () => packed),
];

const contextOf = (cache: string): PipelineContext => ({
  ...tinyContext(cache),
  precision: { used: 'fp32', asked: true },
});
const run = (each: Case, cache: string, out: string): Promise<unknown> =>
  each.compress
    ? compress(contextOf(cache), each.compress(out))
    : exportCheckpoint(contextOf(cache), each.export!(out));

/** Files without the times and paces in them. */
const timeless = (content: ReadonlyMap<string, Buffer>): [string, string][] =>
  [...content].map(([name, bytes]) => [name, bytes.toString('latin1').replace(/"(?:seconds|out)":[^,}\]]*/g, '')]);

const WRITING: ReadonlySet<string> = new Set(['export', 'decompose']);

it.each(cases)('$label', async each => {
  const place = path.join(folder, each.label.replace(/\W+/g, '-'));
  mkdirSync(place);
  const [out, cache] = [path.join(place, 'out'), path.join(place, 'cache')];
  const before = timeless(contentOf(each.source()));
  const engine = startEngine();
  const settings = { cache, device: 'cpu', threads: 1, seed: 1 };
  const killing = {
    onProgress: (progress: { stage: string; done: number; total: number }) => {
      if (WRITING.has(progress.stage) && progress.done / progress.total >= 0.3 && engine.pid !== undefined)
        process.kill(engine.pid, 'SIGKILL');
    },
  };
  const dying = each.compress
    ? engine.request('compress', { ...each.compress(out), ...settings }, killing)
    : engine.request('export', { ...each.export!(out), ...settings }, killing);
  await expect(dying).rejects.toMatchObject({ code: 'engine-died' });
  engine.dispose();

  expect(existsSync(out)).toBe(false);
  // What is left says by its name what it is, and is no folder that anything lists as a checkpoint.
  expect(readdirSync(place).filter(name => !/^cache$|^out\.(?:partial|claim)$/.test(name))).toEqual([]);
  await run(each, cache, out);
  const undisturbed = path.join(place, 'again', 'out');
  await run(each, path.join(place, 'other-cache'), undisturbed);
  expect(timeless(contentOf(out))).toEqual(timeless(contentOf(undisturbed)));
  expect(timeless(contentOf(each.source()))).toEqual(before);
  const { problems } = await openCheckpoint(nodeFiles, out);
  expect(problems.filter(({ severity }) => severity !== 'information')).toEqual([]);

  // A folder in the way, and one that no checkpoint is in even where overwriting was asked for.
  const kept = contentOf(out);
  await expect(run(each, cache, out)).rejects.toMatchObject({ code: 'output-exists' });
  expect(contentOf(out)).toEqual(kept);
  const foreign = path.join(place, 'mine');
  mkdirSync(foreign);
  writeFileSync(path.join(foreign, 'letter.txt'), 'dear');
  const overwriting = each.compress
    ? compress(contextOf(cache), { ...each.compress(foreign), overwrite: true })
    : exportCheckpoint(contextOf(cache), { ...each.export!(foreign), overwrite: true });
  await expect(overwriting).rejects.toMatchObject({ code: 'output-exists' });
  expect(readFileSync(path.join(foreign, 'letter.txt'), 'utf8')).toBe('dear');
  rmSync(place, { recursive: true });
});
