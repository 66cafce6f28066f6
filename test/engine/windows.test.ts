import { describe, expect, it } from 'vitest';
import { perplexity } from '../../extension/core/evaluation/perplexity';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { cutWindows, readWindows } from '../../extension/core/evaluation/windows';
import { nodeFiles } from '../../extension/node/files';
import { native } from './native';

const ids = Int32Array.from({ length: 10 }, (_, i) => i + 100);
const SAMPLE = 'media/sample/tiny-books-4m';
const TEXT = 'media/sample/calibration.txt';

describe('windows', () => {
  it('do not overlap and leave the rest out', () => {
    expect(cutWindows(ids, { context: 4 }, undefined, 'f')).toEqual({
      tokens: Int32Array.of(100, 101, 102, 103, 104, 105, 106, 107),
      windows: 2,
      context: 4,
      predictions: 3,
    });
    expect(cutWindows(ids, { context: 4, windows: 1 }, undefined, 'f').tokens).toEqual(
      Int32Array.of(100, 101, 102, 103),
    );
  });

  it('begin with the given token, which takes a place of text', () => {
    expect(cutWindows(ids, { context: 4 }, 7, 'f').tokens).toEqual(
      Int32Array.of(7, 100, 101, 102, 7, 103, 104, 105, 7, 106, 107, 108),
    );
  });

  it.each([{ context: 11 }, { context: 4, windows: 3 }])('are refused when the text is too short for %j', options => {
    expect(() => cutWindows(ids, options, undefined, 'f')).toThrow(
      expect.objectContaining({ code: 'text-too-short', file: 'f' }),
    );
  });

  it('are read from a file with as much of it as they need', async () => {
    const tokenizer = await TextTokenizer.load({ files: nodeFiles, native }, SAMPLE);
    const { tokens, windows } = await readWindows(nodeFiles, tokenizer, 2048, TEXT, { context: 32, windows: 5 });
    const all = await readWindows(nodeFiles, tokenizer, 2048, TEXT, { context: 32 });
    expect(windows).toBe(5);
    expect(tokens).toEqual(all.tokens.subarray(0, 5 * 32));
  });

  it("refuse another model's tokenizer, odd requests and absent texts", async () => {
    const tokenizer = await TextTokenizer.load({ files: nodeFiles, native }, SAMPLE);
    const read = (vocab: number, file: string, options: Parameters<typeof readWindows>[4]) =>
      readWindows(nodeFiles, tokenizer, vocab, file, options);
    await expect(read(500, TEXT, { context: 32 })).rejects.toMatchObject({
      code: 'tokenizer',
      file: `${SAMPLE}/tokenizer.json`,
    });
    await expect(read(2048, TEXT, { context: 1 })).rejects.toMatchObject({ code: 'usage' });
    await expect(read(2048, TEXT, { context: 8, windows: 0 })).rejects.toMatchObject({ code: 'usage' });
    await expect(read(2048, 'no/such.txt', { context: 8 })).rejects.toMatchObject({ code: 'file-not-found' });
  });
});

describe('perplexity', () => {
  it('is the exponential of the mean loss', () => {
    expect(perplexity([Math.log(2), Math.log(8)])).toBeCloseTo(4, 12);
  });
});
