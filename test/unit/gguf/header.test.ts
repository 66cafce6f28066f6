import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrayItems } from '../../../extension/core/checkpoint/gguf/metadata';
import { readGgufHeader } from '../../../extension/core/checkpoint/gguf/header';
import type { GgufArray } from '../../../extension/core/checkpoint/gguf/values';
import { LqError } from '../../../extension/core/errors';
import { weightLookup } from '../../../extension/core/logical/lookup';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { MemoryFiles } from '../checkpoint/memory-files';
import { ggufFile } from './fixtures';

const open = (file: Uint8Array) => readGgufHeader(new MemoryFiles({ '/m/f.gguf': file }), '/m/f.gguf');
const refusal = async (file: Uint8Array): Promise<LqError> => {
  const error: unknown = await open(file).catch((thrown: unknown) => thrown);
  if (error instanceof LqError) return error;
  throw new Error('accepted');
};

/** The file with bytes replaced at the first place where `text` is written with its length, `after` bytes behind it. */
function patched(file: Uint8Array, text: string, after: number, bytes: readonly number[]): Uint8Array {
  const at = Buffer.from(file).indexOf(text);
  if (at < 0) throw new Error(`no ${text}`);
  const copy = file.slice();
  copy.set(bytes, at + text.length + after);
  return copy;
}

const u32 = (value: number): number[] => [...new Uint8Array(Uint32Array.of(value).buffer)];
const u64 = (value: bigint): number[] => [...new Uint8Array(BigUint64Array.of(value).buffer)];

describe('a GGUF header', () => {
  it('gives keys, shapes outermost first, and absolute places that fill the file', async () => {
    const file = ggufFile();
    const header = await open(file);
    expect(header.metadata.get('llama.block_count')).toBe(1);
    expect(header.metadata.get('general.architecture')).toBe('llama');
    expect(header.tensors.map(({ name, dtype, shape, bytes }) => [name, dtype, [...shape], bytes])).toEqual([
      ['token_embd.weight', 'Q6_K', [8, 256], 8 * 210],
      ['output_norm.weight', 'F32', [256], 1024],
      ['blk.0.attn_q.weight', 'Q4_K', [256, 256], 256 * 144],
      ['blk.0.attn_k.weight', 'IQ2_XXS', [128, 256], 128 * 66],
      ['blk.0.ffn_down.weight', 'Q8_0', [256, 512], (256 * 512 * 34) / 32],
    ]);
    const last = header.tensors.at(-1)!;
    expect(Math.ceil((last.offset + last.bytes) / 32) * 32).toBe(file.length);
  });

  it('of a file with another name says what the file is', async () => {
    const file = ggufFile().slice(0, 100);
    const wrong = readGgufHeader(new MemoryFiles({ '/m/f.safetensors': file }), '/m/f.safetensors');
    await expect(wrong).rejects.toThrow(/^f\.safetensors is a GGUF file by its content: /);
    expect((await refusal(file)).message).not.toMatch(/by its content/);
  });

  it('reads arrays only when they are asked for', async () => {
    const files = new MemoryFiles({ '/m/f.gguf': ggufFile() });
    const { metadata } = await readGgufHeader(files, '/m/f.gguf');
    const tokens = metadata.get('tokenizer.ggml.tokens') as GgufArray;
    expect(tokens).toMatchObject({ type: 'string', count: 4 });
    expect(await arrayItems(files, tokens)).toEqual(['a', 'b', '<s>', 'é😀']);
    expect(await arrayItems(files, metadata.get('tokenizer.ggml.scores') as GgufArray)).toEqual([0, -1, 0, -2]);
  });

  it('passes over a large vocabulary in bounded reads, and over the data entirely', async () => {
    const value = Array.from({ length: 200_000 }, (_, i) => `token ${i}`);
    const file = ggufFile({ 'tokenizer.ggml.merges': { type: 'strings', value } });
    const files = new MemoryFiles({ '/m/f.gguf': file });
    const start = performance.now();
    const header = await readGgufHeader(files, '/m/f.gguf');
    expect(performance.now() - start).toBeLessThan(500);
    expect(header.tensors).toHaveLength(5);
    expect(files.bytesRead).toBeLessThan(header.headerBytes + 3_000_000);
  });

  it.each<[string, (file: Uint8Array) => Uint8Array, string, string?]>([
    ['another magic', file => patched(file, '', 0, [0x47, 0x47, 0x4d, 0x4c]), 'header-entry'],
    ['version 1', file => patched(file, 'GGUF', 0, u32(1)), 'header-entry'],
    ['big-endian', file => patched(file, 'GGUF', 0, [0, 0, 0, 3]), 'header-entry'],
    ['more tensors than fit', file => patched(file, 'GGUF', 4, u64(2n ** 40n)), 'header-length'],
    ['more keys than fit', file => patched(file, 'GGUF', 12, u64(2n ** 63n)), 'header-length'],
    [
      'a string longer than the file',
      file => patched(file, 'general.architecture', 4, u64(10n ** 6n)),
      'header-length',
    ],
    ['a key beyond the longest', file => patched(file, 'GGUF', 20, u64(2n ** 60n)), 'header-entry'],
    ['an unknown value type', file => patched(file, 'llama.block_count', 0, u32(13)), 'header-entry'],
    ['an array of arrays', file => patched(file, 'tokenizer.ggml.tokens', 4, u32(9)), 'header-entry'],
    [
      'an array longer than the file',
      file => patched(file, 'tokenizer.ggml.scores', 8, u64(2n ** 50n)),
      'header-length',
    ],
    [
      'a string in an array longer than the file',
      file => patched(file, 'tokenizer.ggml.tokens', 20, u32(2 ** 31)),
      'header-length',
    ],
    ['rank 5', file => patched(file, 'token_embd.weight', 0, u32(5)), 'header-entry', 'token_embd.weight'],
    ['an unknown type', file => patched(file, 'token_embd.weight', 20, u32(99)), 'unknown-dtype', 'token_embd.weight'],
    [
      'a row of no whole blocks',
      file => patched(file, 'token_embd.weight', 4, u64(250n)),
      'tensor-size',
      'token_embd.weight',
    ],
    [
      'a size beyond 2^53',
      file => patched(file, 'token_embd.weight', 12, u64(2n ** 52n)),
      'tensor-overflow',
      'token_embd.weight',
    ],
    [
      'an offset off the alignment',
      file => patched(file, 'output_norm.weight', 16, u64(33n)),
      'tensor-overlap',
      'output_norm.weight',
    ],
    ['an overlap', file => patched(file, 'output_norm.weight', 16, u64(0n)), 'tensor-overlap', 'output_norm.weight'],
    ['a hole', file => patched(file, 'output_norm.weight', 16, u64(8192n)), 'tensor-hole', 'output_norm.weight'],
    ['the data cut', file => file.slice(0, -40), 'file-coverage', 'blk.0.ffn_down.weight'],
    ['bytes left over', file => Uint8Array.from([...file, ...new Uint8Array(64)]), 'file-coverage'],
    ['the header cut', file => file.slice(0, 200), 'header-length'],
    ['an empty file', () => new Uint8Array(0), 'header-too-small'],
  ])('refuses %s', async (_, damage, code, tensor) => {
    const error = await refusal(damage(ggufFile()));
    expect(error).toMatchObject({ code, file: '/m/f.gguf', ...(tensor !== undefined && { tensor }) });
  });

  it('refuses keys and tensors that appear twice', async () => {
    const twice = patched(
      ggufFile({ 'llama.block_counu': { type: 'u32', value: 1 } }),
      'llama.block_counu',
      -1,
      [0x74],
    );
    expect(await refusal(twice)).toMatchObject({ code: 'header-entry' });
    const same = patched(ggufFile(), 'blk.0.attn_k', -1, [0x71]);
    expect(await refusal(same)).toMatchObject({ code: 'duplicate-tensor', tensor: 'blk.0.attn_q.weight' });
  });

  it('with any bytes changed is refused with a typed error or describes whole tensors inside the file', async () => {
    const original = ggufFile();
    const header = Buffer.from(original).indexOf('blk.0.ffn_down.weight') + 60;
    const edit = fc.record({ at: fc.nat(header), byte: fc.nat(255) });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async edits => {
        const file = original.slice();
        for (const { at, byte } of edits) file[at] = byte;
        try {
          const { tensors } = await open(file);
          for (const { offset, bytes } of tensors) expect(offset + bytes).toBeLessThanOrEqual(file.length);
        } catch (error) {
          if (!(error instanceof LqError)) throw error;
          refused++;
          expect(error.file).toBe('/m/f.gguf');
        }
      }),
      { numRuns: 5000 },
    );
    expect(refused).toBeGreaterThan(1000);
  });
});

describe('a GGUF checkpoint', () => {
  it('has the weights of transformers by name, and a configuration', async () => {
    const index = await openCheckpoint(new MemoryFiles({ '/m/f.gguf': ggufFile() }), '/m/f.gguf');
    expect(index.config).toMatchObject({
      ...{ model_type: 'llama', hidden_size: 256, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 64 },
      ...{ vocab_size: 8, tie_word_embeddings: true, rms_norm_eps: Math.fround(1e-5) },
    });
    expect(logicalTensors(index).map(({ name, dtype, role, layer }) => [name, dtype, role, layer])).toEqual([
      ['model.embed_tokens.weight', 'Q6_K', 'embedding', -1],
      ['model.layers.0.mlp.down_proj.weight', 'Q8_0', 'down', 0],
      ['model.layers.0.self_attn.k_proj.weight', 'IQ2_XXS', 'k', 0],
      ['model.layers.0.self_attn.q_proj.weight', 'Q4_K', 'q', 0],
      ['model.norm.weight', 'F32', 'norm', -1],
    ]);
    expect(index.parameters).toBe(8 * 256 + 256 + 256 * 256 + 128 * 256 + 256 * 512);
  });

  it('keeps the names of architectures that are not known, with their roles', async () => {
    const file = ggufFile({ 'general.architecture': { type: 'string', value: 'rwkv6' } });
    const index = await openCheckpoint(new MemoryFiles({ '/m/f.gguf': file }), '/m');
    const places = logicalTensors(index).map(({ name, role, layer }) => [name, role, layer]);
    expect(places).toContainEqual(['blk.0.attn_q.weight', 'q', 0]);
    expect(index.config).toEqual({ model_type: 'rwkv6' });
  });

  it('has experts apart, by the names of the family that has them', async () => {
    const file = ggufFile({ 'general.architecture': { type: 'string', value: 'qwen2moe' } }, [
      { name: 'blk.0.ffn_gate_inp.weight', type: 'F32', shape: [3, 32] },
      { name: 'blk.0.ffn_gate_inp_shexp.weight', type: 'F32', shape: [32] },
      { name: 'blk.0.ffn_up_exps.weight', type: 'Q8_0', shape: [3, 64, 32] },
      { name: 'blk.0.ffn_up_shexp.weight', type: 'F16', shape: [64, 32] },
    ]);
    const index = await openCheckpoint(new MemoryFiles({ '/m/f.gguf': file }), '/m');
    const inLayer = (name: string): string => `model.layers.0.mlp.${name}.weight`;
    expect(logicalTensors(index).map(({ name, shape }) => [name, shape])).toEqual([
      ...[0, 1, 2].map(expert => [inLayer(`experts.${expert}.up_proj`), [64, 32]]),
      [inLayer('gate'), [3, 32]],
      [inLayer('shared_expert.up_proj'), [64, 32]],
      [inLayer('shared_expert_gate'), [32]],
    ]);
    const lookup = weightLookup(index);
    const whole = index.byName.get('blk.0.ffn_up_exps.weight')!;
    expect(lookup(inLayer('experts.2.up_proj'))).toMatchObject({
      ...{ kind: 'gguf', rows: 64, cols: 32 },
      range: { offset: whole.offset + (2 * whole.bytes) / 3, bytes: whole.bytes / 3 },
    });
  });

  it('has norms without what they count from, and rows of q and k in the order of transformers', async () => {
    const open = async (architecture: string) =>
      weightLookup(
        await openCheckpoint(
          new MemoryFiles({
            '/m/f.gguf': ggufFile({
              'general.architecture': { type: 'string', value: architecture },
              [`${architecture}.attention.head_count`]: { type: 'u32', value: 4 },
              [`${architecture}.attention.head_count_kv`]: { type: 'u32', value: 2 },
            }),
          }),
          '/m/f.gguf',
        ),
      );
    const gemma = await open('gemma');
    expect(gemma('model.norm.weight')).toMatchObject({ kind: 'gguf', type: 'F32', plus: -1 });
    expect(gemma('model.layers.0.self_attn.q_proj.weight')).not.toHaveProperty('order');
    const llama = await open('llama');
    expect(llama('model.norm.weight')).toMatchObject({ kind: 'dense' });
    const { order } = llama('model.layers.0.self_attn.q_proj.weight') as { order: Int32Array };
    expect([...order.slice(0, 4)]).toEqual([0, 32, 1, 33]);
    expect([...order.slice(64, 66)]).toEqual([64, 96]);
  });

  const part = (no: number, count: number, name: string): Uint8Array =>
    ggufFile(
      {
        'split.no': { type: 'u16', value: no },
        'split.count': { type: 'u16', value: count },
        'split.tensors.count': { type: 'i32', value: 2 },
      },
      [{ name, type: 'F32', shape: [4] }],
    );

  it('is put together from its parts, whichever is opened', async () => {
    const files = new MemoryFiles({
      '/m/big-00001-of-00002.gguf': part(0, 2, 'output_norm.weight'),
      '/m/big-00002-of-00002.gguf': part(1, 2, 'blk.0.attn_norm.weight'),
    });
    for (const path of ['/m/big-00002-of-00002.gguf', '/m']) {
      const index = await openCheckpoint(files, path);
      expect(index.problems).toEqual([]);
      expect(index.file).toBe('/m/big-00001-of-00002.gguf');
      expect(index.tensors.map(({ name }) => name)).toEqual(['blk.0.attn_norm.weight', 'output_norm.weight']);
    }
  });

  it('names a part that is missing and one that says it is another', async () => {
    const files = new MemoryFiles({
      '/m/big-00001-of-00003.gguf': part(0, 3, 'output_norm.weight'),
      '/m/big-00003-of-00003.gguf': part(1, 3, 'blk.0.attn_norm.weight'),
    });
    const index = await openCheckpoint(files, '/m/big-00001-of-00003.gguf');
    expect(index.problems.map(({ code, file }) => [code, file])).toEqual([
      ['shard-missing', '/m/big-00002-of-00003.gguf'],
      ['shard-disagrees', '/m/big-00003-of-00003.gguf'],
    ]);
  });
});
