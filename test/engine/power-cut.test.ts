/**
 * The power fails before every single change that a compression makes on the disk. Whatever of the unflushed is lost, a
 * published name holds the whole or nothing, the journal claims nothing that is gone, and the same request finishes with the
 * bytes of an undisturbed run.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { compress } from '../../extension/core/pipeline';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { PowerWatch, type Image, type Luck } from './power';
import { workFolder } from './running';
import { contentOf, frontierRequest, paperRequest, tinyContext, writeTinyModel } from './tiny';

const { folder, clean } = workFolder();
let model: string;
beforeAll(() => {
  model = writeTinyModel(folder);
});
afterAll(clean);

/** Everything unflushed is lost; names are kept and contents lost, as file systems without order do; the reverse; by chance. */
const lucks: Record<string, () => Luck> = {
  'all is lost': () => () => 'flushed',
  'names stay': () => what => (what === 'name' ? 'latest' : 'flushed'),
  'names are lost': () => what => (what === 'name' ? 'flushed' : 'latest'),
  'by chance': () => {
    let state = 7;
    return () => ((state = (state * 48271) % 2147483647) % 2 === 0 ? 'flushed' : 'latest');
  },
};

/** Images from which the request is really run again, of each way to lose. */
const RERUNS = 3;

const timeless = (content: Buffer): string => content.toString('latin1').replace(/"(?:seconds|out)":[^,}\]]*/g, '');

/** The tensors of a safetensors file, and its header. */
function tensorsOf(content: Buffer): { header: Buffer; tensors: Map<string, Buffer> } {
  const start = 8 + Number(content.readBigUInt64LE());
  const header = JSON.parse(content.subarray(8, start).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const tensors = Object.entries(header).flatMap(([name, { data_offsets }]) =>
    name === '__metadata__'
      ? []
      : [[name, content.subarray(start + data_offsets[0], start + data_offsets[1])] as const],
  );
  return { header: content.subarray(0, start), tensors: new Map(tensors) };
}

/** What the journal of an output in the making claims and is not on the disk. */
function falselyClaimed(image: Image, partial: string, wanted: Image): string[] {
  const journal = image.get(path.join(partial, 'journal.json'));
  if (journal === undefined) return [];
  const { items } = JSON.parse(journal.toString()) as { items: [string, unknown][] };
  const shards = [...wanted].filter(([name]) => name.endsWith('.safetensors'));
  // Files of other sizes are noticed and the work starts over.
  const there = shards.every(([name, content]) => image.get(path.join(partial, name))?.length === content.length);
  if (!there || items.length === 0) return [];
  return shards.flatMap(([name, content]) => {
    const found = image.get(path.join(partial, name))!;
    const whole = tensorsOf(content);
    if (!found.subarray(0, whole.header.length).equals(whole.header)) return [`the header of ${name}`];
    const now = tensorsOf(found).tensors;
    return [...whole.tensors].flatMap(([tensor, bytes]) => {
      const claimed = items.some(([item]) =>
        item === '*kept*' ? isKept(tensor) : tensor.startsWith(`${item}.`) || tensor === item,
      );
      return claimed && !now.get(tensor)!.equals(bytes) ? [tensor] : [];
    });
  });
}
const isKept = (tensor: string): boolean => /norm\.weight$|embed_tokens|lm_head/.test(tensor);

const requests: Record<string, (out: string) => CompressRequest> = {
  'the paper’s method': out => paperRequest(model, out),
  'the default method, second pass': out => frontierRequest(model, out),
  'a dense output': out => ({ ...paperRequest(model, out), format: 'dense' }),
};

it.each(Object.entries(requests))(
  '%s',
  async (name, request) => {
    const own = path.join(folder, name.replace(/\W+/g, '-'));
    const undisturbed = path.join(own, 'undisturbed');
    await compress(tinyContext(path.join(undisturbed, 'cache')), request(path.join(undisturbed, 'out')));
    const wanted = contentOf(path.join(undisturbed, 'out'));
    const wantedCache = contentOf(path.join(undisturbed, 'cache'));

    const root = path.join(own, 'watched');
    mkdirSync(root);
    const watch = new PowerWatch(root);
    const images: { where: string; image: Image }[] = [];
    const ways = Object.keys(lucks);
    const chances = Object.values(lucks).map(luck => luck());
    const files = watch.files((operation, file) => {
      for (const [i, image] of watch.images(chances).entries())
        images.push({ where: `${ways[i]}, ${operation} ${file.replace(root, '')}`, image });
    });
    await compress(tinyContext(path.join(root, 'cache'), {}, files), request(path.join(root, 'out')));
    expect(images.length).toBeGreaterThan(400);

    for (const { where, image } of images) {
      for (const [file, content] of image) {
        if (file.startsWith('out/') && !file.endsWith('journal.json'))
          expect(content.equals(wanted.get(file.slice(4))!), `${where}: ${file} is published and not whole`).toBe(true);
        if (/^cache\/(?:fisher|calibration)\/[0-9a-f]{64}\.safetensors$/.test(file))
          expect(content.equals(wantedCache.get(file.slice(6))!), `${where}: ${file} is published and not whole`).toBe(
            true,
          );
      }
      const published = [...image.keys()].filter(file => file.startsWith('out/') && !file.endsWith('journal.json'));
      if (published.length > 0) expect(published.map(file => file.slice(4)).sort(), where).toEqual([...wanted.keys()]);
      expect(falselyClaimed(image, 'out.partial', wanted), where).toEqual([]);
    }

    const step = Math.floor(images.length / (RERUNS * chances.length)) | 1;
    for (let i = step >> 1; i < images.length; i += step) {
      const { where, image } = images[i]!;
      if ([...image.keys()].some(file => file.startsWith('out/'))) continue;
      const again = path.join(own, 'again');
      for (const [file, content] of image) {
        // A machine that comes up again has none of the processes that held claims.
        if (/\.(?:claim|removing)$/.test(file)) continue;
        mkdirSync(path.dirname(path.join(again, file)), { recursive: true });
        writeFileSync(path.join(again, file), content);
      }
      await compress(tinyContext(path.join(again, 'cache')), request(path.join(again, 'out')));
      const found = contentOf(path.join(again, 'out'));
      expect([...found.keys()], where).toEqual([...wanted.keys()]);
      for (const [file, content] of wanted)
        expect(timeless(found.get(file)!) === timeless(content), `${where}: ${file} differs`).toBe(true);
      rmSync(again, { recursive: true });
    }
  },
  600_000,
);
