/** Workers that share the encoding of a plan: what the output is made of, what is missing, what is damaged, what cannot be shared. */
import { readdirSync, rmSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PipelineContext } from '../../extension/core/context';
import type { EncodedShare } from '../../extension/core/decomposition/encoded';
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
  'in layer order': out => frontierRequest(model, out),
  'trellis codes': out => ({ ...frontierRequest(model, out), secondPass: false }),
  'blocks of GGUF': out => ({ ...forProgram('gguf', out), budget: { kind: 'bits', value: 6 } }),
  'compressed-tensors': out => forProgram('compressed-tensors', out),
  'MLX, with biases': out => forProgram('mlx', out),
  'bitsandbytes, with constants': out => ({ ...forProgram('bitsandbytes', out), budget: { kind: 'bits', value: 6 } }),
};
const forProgram = (consumer: CompressRequest['for'] & string, out: string): CompressRequest => {
  const { model: of, calibration, samples, context } = frontierRequest(model, out);
  return {
    ...{ model: of, out, for: consumer, budget: { kind: 'bits', value: 5 } },
    ...{ calibration: calibration!, samples: samples!, context: context! },
  };
};

it.each(Object.entries(requests))('%s: gathered, the output is the single process’s', async (name, request) => {
  const own = name.replace(/\W+/g, '-');
  const cache = at(`${own}-cache`);
  const out = at(`${own}-out`);
  const shares: EncodedShare[] = [];
  for (const index of [0, 1])
    shares.push((await compressShard(tinyContext(cache), request(out), { index, count: 2 })).encoded as EncodedShare);
  // In GGUF the embedding and the head are in the program too.
  const shared = shares[0]!.computed.length;
  expect(shared).toBeGreaterThanOrEqual(TINY_MATRICES);
  expect(new Set(shares[0]!.computed).size).toBe(shared);
  expect(shares).toEqual([
    { computed: expect.anything() as string[], found: 0, left: 0 },
    { computed: [], found: shared, left: 0 },
  ]);
  const entries = readdirSync(path.join(cache, 'encoded')).filter(file => file.endsWith('.parts'));
  expect(entries).toHaveLength(shared);
  // One was never encoded, another lost its end.
  rmSync(path.join(cache, 'encoded', entries[0]!));
  truncateSync(path.join(cache, 'encoded', entries[1]!), 100);
  const { encoded, changes } = counted();
  await compress(tinyContext(cache, changes), request(out));
  expect(encoded()).toBe(2);
  // The output is whole: what it was made of is gone.
  expect(readdirSync(path.join(cache, 'encoded'))).toEqual([]);
  await compress(tinyContext(at(`${own}-alone-cache`)), request(at(`${own}-alone`)));
  const [found, wanted] = [contentOf(out), contentOf(at(`${own}-alone`))];
  expect([...found.keys()]).toEqual([...wanted.keys()]);
  for (const [file, content] of wanted) expect(found.get(file)!.equals(content), file).toBe(true);
});

it('in layer order no more workers are at it than a step has matrices', async () => {
  const cache = at('many');
  const share = async (index: number): Promise<EncodedShare> =>
    (await compressShard(tinyContext(cache), frontierRequest(model, at('many-out')), { index, count: 64 }))
      .encoded as EncodedShare;
  // q, k and v read the same.
  expect(await share(3)).toEqual({ computed: [], found: 0, left: TINY_MATRICES });
  expect((await share(2)).computed).toHaveLength(TINY_MATRICES);
  expect(await share(63)).toEqual({ computed: [], found: TINY_MATRICES, left: 0 });
});

it('workers measure no more costs than one process does', async () => {
  const measures = async (cache: string, work: (context: PipelineContext) => Promise<unknown>): Promise<number> => {
    let measured = 0;
    const encodeCosts: NativeModule['encodeCosts'] = (device, source, options, parameters, control) => {
      if (parameters.predict !== true) measured += options.length;
      return native.encodeCosts(device, source, options, parameters, control);
    };
    await work(tinyContext(at(cache), { encodeCosts }));
    return measured;
  };
  const request = frontierRequest(model, at('few-out'));
  const shard = (index: number) => (context: PipelineContext) => compressShard(context, request, { index, count: 2 });
  const alone = await measures('few-alone', context => compress(context, { ...request, out: at('few-alone-out') }));
  expect(alone).toBeGreaterThan(0);
  expect(await measures('few', shard(0))).toBe(alone);
  expect(await measures('few', shard(1))).toBe(0);
  expect(await measures('few', context => compress(context, request))).toBe(0);
});

it('a worker does not begin where the output is already', async () => {
  const request = paperRequest(model, at('there'));
  await compress(tinyContext(at('there-cache')), request);
  await expect(compressShard(tinyContext(at('there-cache')), request, { index: 0, count: 1 })).rejects.toMatchObject({
    code: 'output-exists',
  });
});
