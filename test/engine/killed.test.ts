/** The engine killed in every stage of a compression: the same request then gives what an undisturbed one gives. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PipelineContext } from '../../extension/core/context';
import type { NativeModule } from '../../extension/core/native';
import { compress } from '../../extension/core/pipeline';
import type { Stage } from '../../extension/core/progress';
import type { CompressReport } from '../../extension/core/reports';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { native } from './native';
import { startEngine, workFolder } from './running';
import {
  contentOf,
  frontierRequest,
  keepsCosts,
  paperRequest,
  tinyContext,
  TINY_MATRICES,
  writeTinyModel,
} from './tiny';

const { folder, clean } = workFolder();
let model: string;
const undisturbed = new Map<string, { report: CompressReport; content: ReadonlyMap<string, Buffer> }>();
/** An engine chooses what products are computed in by the machine: both sides are told. */
const methods = {
  paper: (...args: Parameters<typeof paperRequest>) => inFp32(paperRequest(...args)),
  frontier: (...args: Parameters<typeof paperRequest>) => inFp32(frontierRequest(...args)),
  dense: (...args: Parameters<typeof paperRequest>) => inFp32({ ...paperRequest(...args), format: 'dense' }),
} as const;

function inFp32(request: CompressRequest): CompressRequest {
  return { ...request, precision: 'fp32' };
}
const contextOf = (...args: Parameters<typeof tinyContext>): PipelineContext => ({
  ...tinyContext(...args),
  precision: { used: 'fp32', asked: true },
});

beforeAll(async () => {
  model = writeTinyModel(folder);
  for (const [method, request] of Object.entries(methods)) {
    const asked = request(model, path.join(folder, method));
    const report = await compress(contextOf(path.join(folder, 'undisturbed')), asked);
    undisturbed.set(method, { report, content: contentOf(asked.out) });
  }
}, 60_000);
afterAll(clean);

/** Published entries, what they hold and which file each is: one that is written anew is another file. */
function entriesOf(cache: string): Map<string, { file: bigint; content: Buffer }> {
  const names = readdirSync(cache, { recursive: true }).map(String);
  return new Map(
    names
      .filter(name => /^(?!rates|known|written|packed).*\/[0-9a-f]{64}\.(?:json|safetensors)$/.test(name))
      .map(name => {
        const file = path.join(cache, name);
        return [name, { file: statSync(file, { bigint: true }).ino, content: readFileSync(file) }];
      }),
  );
}

/** Matrices that are finished: those that the journal of an output in the making tells of, or all of one that is there. */
function finishedMatrices(out: string, cache: string): number {
  if (existsSync(out)) return TINY_MATRICES;
  const partials = [`${out}.partial`, ...partialsIn(path.join(cache, 'packed'))];
  for (const partial of partials) {
    try {
      const { items } = JSON.parse(readFileSync(path.join(partial, 'journal.json'), 'utf8')) as { items: [string][] };
      return items.filter(([name]) => name !== '*kept*').length;
    } catch {
      // Not begun.
    }
  }
  return 0;
}

function partialsIn(packed: string): string[] {
  try {
    return readdirSync(packed)
      .filter(name => name.endsWith('.partial'))
      .map(name => path.join(packed, name));
  } catch {
    return [];
  }
}

const stages: [keyof typeof methods, Stage, number][] = [
  ['paper', 'baseline', 0],
  ['paper', 'fisher', 0.5],
  ['paper', 'sweep', 0.5],
  ['paper', 'decompose', 0],
  ['paper', 'decompose', 0.5],
  ['paper', 'evaluate', 0],
  ['frontier', 'calibrate', 0.5],
  ['frontier', 'sweep', 0.5],
  ['frontier', 'decompose', 0.5],
  ['frontier', 'evaluate', 0],
  ['dense', 'export', 0.3],
  ['dense', 'evaluate', 0],
];

it.each(stages)('%s, in %s from %d on', async (method, stage, share) => {
  const run = path.join(folder, `${method}-${stage}-${share}`);
  mkdirSync(run);
  const request = methods[method](model, path.join(run, 'out'));
  const cache = path.join(run, 'cache');
  // Its own: a client waits longer and longer before it starts an engine that keeps dying.
  const engine = startEngine();
  const dying = engine.request(
    'compress',
    { ...request, cache, device: 'cpu', threads: 1, seed: 1 },
    {
      onProgress: progress => {
        if (progress.stage === stage && progress.done / progress.total >= share && engine.pid !== undefined)
          process.kill(engine.pid, 'SIGKILL');
      },
    },
  );
  await expect(dying).rejects.toMatchObject({ code: 'engine-died' });
  engine.dispose();

  const before = entriesOf(cache);
  const finished = finishedMatrices(request.out, cache);
  let encoded = 0;
  const counting: Partial<NativeModule> = {
    decompose: (...args) => (encoded++, native.decompose(...args)),
    encode: (...args) => (encoded++, native.encode(...args)),
  };
  const report = await compress(contextOf(cache, counting), request);
  const wanted = undisturbed.get(method)!;
  expect([report.matrices, report.before, report.after]).toEqual([
    wanted.report.matrices,
    wanted.report.before,
    wanted.report.after,
  ]);
  const content = contentOf(request.out);
  expect([...content.keys()]).toEqual([...wanted.content.keys()]);
  for (const [name, bytes] of wanted.content) expect(content.get(name)!.equals(bytes), name).toBe(true);
  const after = entriesOf(cache);
  for (const [name, { file, content: earlier }] of before) {
    const now = after.get(name)!;
    // By the default method costs are predicted first and measured where a plan could use them.
    if (method === 'frontier' && name.startsWith('sweep'))
      expect(keepsCosts(earlier, now.content), `${name} was measured again`).toBe(true);
    else expect(now.file, `${name} was made again`).toBe(file);
  }
  expect(encoded).toBe(stage === 'evaluate' || stage === 'export' ? 0 : TINY_MATRICES - finished);
  expect(readdirSync(run).sort()).toEqual(['cache', 'out']);
  rmSync(run, { recursive: true });
});
