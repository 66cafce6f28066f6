/** Workers that share the encoding of a plan: what the output is made of, what is missing, what is damaged, what cannot be shared. */
import { readdirSync, rmSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { NativeModule } from '../../extension/core/native';
import { compress } from '../../extension/core/pipeline';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { compressShard } from '../../extension/core/stages/compress-shard';
import { native } from './native';
import { workFolder } from './running';
import { contentOf, frontierRequest, paperRequest, tinyContext, writeTinyModel, TINY_MATRICES } from './tiny';

const { folder, clean } = workFolder();
let model: string;
beforeAll(() => {
  model = writeTinyModel(folder);
});
afterAll(clean);
const at = (name: string): string => path.join(folder, name);

/** Counts matrices that native code encodes. */
function counted(): { encoded: () => number; changes: Partial<NativeModule> } {
  let encoded = 0;
  const changes: Partial<NativeModule> = {
    decompose: (...args) => (encoded++, native.decompose(...args)),
    encode: (...args) => (encoded++, native.encode(...args)),
  };
  return { encoded: () => encoded, changes };
}

const requests: Record<string, (out: string) => CompressRequest> = {
  'the paper’s method': out => paperRequest(model, out),
  'fp32 factors': out => ({ ...paperRequest(model, out), factors: 'fp32', budget: { kind: 'bits', value: 4 } }),
  'trellis codes': out => ({ ...frontierRequest(model, out), secondPass: false }),
};

it.each(Object.entries(requests))('%s: gathered, the output is the single process’s', async (name, request) => {
  const own = name.replace(/\W+/g, '-');
  const cache = at(`${own}-cache`);
  const out = at(`${own}-out`);
  for (const index of [0, 1])
    expect((await compressShard(tinyContext(cache), request(out), { index, count: 2 })).encoded).toEqual({
      computed: index === 0 ? expect.anything() : [],
      found: index === 0 ? 0 : TINY_MATRICES,
      left: 0,
    });
  const entries = readdirSync(path.join(cache, 'encoded')).filter(file => file.endsWith('.safetensors'));
  expect(entries).toHaveLength(TINY_MATRICES);
  // One was never encoded, another lost its end.
  rmSync(path.join(cache, 'encoded', entries[0]!));
  truncateSync(path.join(cache, 'encoded', entries[1]!), 100);
  const { encoded, changes } = counted();
  await compress(tinyContext(cache, changes), request(out));
  expect(encoded()).toBe(2);
  await compress(tinyContext(at(`${own}-alone-cache`)), request(at(`${own}-alone`)));
  const [found, wanted] = [contentOf(out), contentOf(at(`${own}-alone`))];
  expect([...found.keys()]).toEqual([...wanted.keys()]);
  for (const [file, content] of wanted) expect(found.get(file)!.equals(content), file).toBe(true);
});

it('an encoding in layer order is one process’s, and a worker says so', async () => {
  const report = await compressShard(tinyContext(at('order')), frontierRequest(model, at('order-out')), {
    index: 0,
    count: 2,
  });
  expect(report.encoded).toMatch(/layer order/);
  expect(readdirSync(at('order'))).not.toContain('encoded');
});

it('a worker does not begin where the output is already', async () => {
  const request = paperRequest(model, at('there'));
  await compress(tinyContext(at('there-cache')), request);
  await expect(compressShard(tinyContext(at('there-cache')), request, { index: 0, count: 1 })).rejects.toMatchObject({
    code: 'output-exists',
  });
});
