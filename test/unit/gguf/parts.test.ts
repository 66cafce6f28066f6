/** GGUF files in parts, and what of networks llama.cpp has no form for. */
import { describe, expect, it } from 'vitest';
import { openGguf } from '../../../extension/core/checkpoint/gguf/open';
import { serializeGguf, type GgufField, type GgufTensorSpec } from '../../../extension/core/checkpoint/gguf/serialize';
import { PART_BYTES, partName, serializeGgufParts } from '../../../extension/core/checkpoint/gguf/serialize-parts';
import { MemoryFiles } from '../checkpoint/memory-files';

const fields = new Map<string, GgufField>([
  ['general.architecture', { type: 'string', value: 'llama' }],
  ['tokenizer.ggml.tokens', { type: 'strings', value: Array.from({ length: 40 }, (_, i) => `token ${i}`) }],
]);
const tensors: GgufTensorSpec[] = Array.from({ length: 9 }, (_, i) => ({
  name: `blk.${i}.ffn_up.weight`,
  type: i % 2 === 0 ? 'Q4_K' : 'F32',
  shape: [1 + i, 256],
}));

async function opened(
  limit: number,
): Promise<{ sizes: number[]; names: string[]; problems: unknown[]; keys: string[] }> {
  const parts = serializeGgufParts(fields, tensors, limit);
  const files = Object.fromEntries(
    parts.map(({ bytes, fileBytes }, i) => {
      const file = new Uint8Array(fileBytes);
      file.set(bytes);
      return [`/m/${partName('model', i, parts.length)}`, file];
    }),
  );
  const problems: never[] = [];
  const first = Object.keys(files)[0]!;
  const found = await openGguf(new MemoryFiles(files), first, problems);
  return {
    sizes: parts.map(({ fileBytes }) => fileBytes),
    names: found.tensors.map(({ name }) => name),
    problems,
    keys: [...found.metadata.keys()],
  };
}

describe('a GGUF file in parts', () => {
  const whole = serializeGguf(fields, tensors).fileBytes;

  it.each([whole - 1, 24_000, 14_000, 11_000])('of at most %i bytes has all tensors in order', async limit => {
    const { sizes, names, problems, keys } = await opened(limit);
    expect(sizes.length).toBeGreaterThan(1);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(limit);
    expect(problems).toEqual([]);
    expect(names).toEqual(tensors.map(({ name }) => name));
    expect(keys).toEqual(expect.arrayContaining(['general.architecture', 'split.no', 'split.count']));
    // What is counted for a header is never less than it takes.
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(whole + sizes.length * PART_BYTES);
  });

  it('is one file where everything fits into it', async () => {
    expect((await opened(whole)).sizes).toEqual([whole]);
  });

  it('is refused where a tensor does not fit into a part, or the keys do not', () => {
    expect(() => serializeGgufParts(fields, tensors, 8000)).toThrow(
      expect.objectContaining({ code: 'usage', tensor: 'blk.7.ffn_up.weight' }) as Error,
    );
    expect(() => serializeGgufParts(fields, tensors.slice(0, 1), 600)).toThrow(/keys and tokenizer/);
  });

  it('has the names of llama.cpp', () => {
    expect(partName('model', 1, 3)).toBe('model-00002-of-00003.gguf');
    expect(partName('model', 0, 1)).toBe('model.gguf');
  });
});
