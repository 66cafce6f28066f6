/** Tokenizers of the kind of SentencePiece as keys of GGUF. */
import { expect, it } from 'vitest';
import { tokenizerFields } from '../../../extension/core/export/gguf/tokenizer';
import { ggufTokenizer } from '../../../extension/core/evaluation/gguf-tokenizer';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { f32, validFile } from '../checkpoint/containers';
import { MemoryFiles } from '../checkpoint/memory-files';
import { ggufFile } from './fixtures';

const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
const prepend = { type: 'Prepend', prepend: '▁' };

async function fieldsOf(
  definition: Record<string, unknown>,
  config: Record<string, unknown> = {},
): Promise<ReadonlyMap<string, { value: unknown }>> {
  const model = {
    type: 'BPE',
    byte_fallback: true,
    vocab: { '<unk>': 0, a: 1, '▁': 2, '▁a': 3 },
    merges: [['▁', 'a']],
  };
  const files = new MemoryFiles({
    '/m/model.safetensors': validFile([f32('w', 2, 2)]),
    '/m/tokenizer.json': JSON.stringify({ ...definition, model }),
    '/m/tokenizer_config.json': JSON.stringify(config),
  });
  return tokenizerFields(files, await openCheckpoint(files, '/m'), 4);
}

it.each<[boolean, string, Record<string, unknown>]>([
  [true, 'Llama 2', { normalizer: { type: 'Sequence', normalizers: [prepend, spaces] } }],
  [false, 'Gemma', { normalizer: spaces, pre_tokenizer: { type: 'Split', pattern: { String: ' ' } } }],
  [true, 'a Metaspace', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' } }],
  [false, 'a Metaspace without', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never' } }],
  [false, 'an older one', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', add_prefix_space: false } }],
])('says %s of a space before the text: %s', async (prefix, _, definition) => {
  const fields = await fieldsOf(definition);
  expect(fields.get('tokenizer.ggml.model')?.value).toBe('llama');
  expect(fields.get('tokenizer.ggml.add_space_prefix')?.value).toBe(prefix);
});

const template = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'a' } }, { Sequence: { id: 'A' } }] };
it.each<[boolean, string, Record<string, unknown>, Record<string, unknown>]>([
  [true, 'the configuration', {}, { add_bos_token: true }],
  [true, 'the post-processor', { post_processor: template }, {}],
  [true, 'one of several', { post_processor: { type: 'Sequence', processors: [{ type: 'ByteLevel' }, template] } }, {}],
  [false, 'the configuration, against the post-processor', { post_processor: template }, { add_bos_token: false }],
  [false, 'neither', {}, {}],
])('says %s of a first token that is added, by %s', async (added, _, definition, config) => {
  const fields = await fieldsOf(definition, { bos_token: 'a', ...config });
  expect(fields.get('tokenizer.ggml.bos_token_id')?.value).toBe(1);
  expect(fields.get('tokenizer.ggml.add_bos_token')?.value).toBe(added);
});

it('read back finds in a text what stands for the unknown, as it finds control tokens and those of users', async () => {
  const files = new MemoryFiles({
    '/m/f.gguf': ggufFile({
      'tokenizer.ggml.model': { type: 'string', value: 'llama' },
      'tokenizer.ggml.token_type': { type: 'i32s', value: [2, 1, 3, 4] },
      'tokenizer.ggml.unknown_token_id': { type: 'u32', value: 0 },
    }),
  });
  const { gguf, file } = await openCheckpoint(files, '/m/f.gguf');
  const { definition } = (await ggufTokenizer(files, gguf!, file))!;
  expect(definition.added_tokens).toMatchObject([
    { id: 0, content: 'a', special: true },
    { id: 2, content: '<s>', special: true },
    { id: 3, content: 'é😀', special: false },
  ]);
});
