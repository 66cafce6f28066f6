/** Tokenizers of the kind of SentencePiece as keys of GGUF. */
import { expect, it } from 'vitest';
import { tokenizerFields } from '../../../extension/core/export/gguf/tokenizer';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { f32, validFile } from '../checkpoint/containers';
import { MemoryFiles } from '../checkpoint/memory-files';

const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
const prepend = { type: 'Prepend', prepend: '▁' };

async function prefixOf(definition: Record<string, unknown>): Promise<unknown> {
  const model = {
    type: 'BPE',
    byte_fallback: true,
    vocab: { '<unk>': 0, a: 1, '▁': 2, '▁a': 3 },
    merges: [['▁', 'a']],
  };
  const files = new MemoryFiles({
    '/m/model.safetensors': validFile([f32('w', 2, 2)]),
    '/m/tokenizer.json': JSON.stringify({ ...definition, model }),
  });
  const fields = await tokenizerFields(files, await openCheckpoint(files, '/m'), 4);
  expect(fields.get('tokenizer.ggml.model')?.value).toBe('llama');
  return fields.get('tokenizer.ggml.add_space_prefix')?.value;
}

it.each<[boolean, string, Record<string, unknown>]>([
  [true, 'Llama 2', { normalizer: { type: 'Sequence', normalizers: [prepend, spaces] } }],
  [false, 'Gemma', { normalizer: spaces, pre_tokenizer: { type: 'Split', pattern: { String: ' ' } } }],
  [true, 'a Metaspace', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' } }],
  [false, 'a Metaspace without', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never' } }],
  [false, 'an older one', { pre_tokenizer: { type: 'Metaspace', replacement: '▁', add_prefix_space: false } }],
])('says %s of a space before the text: %s', async (prefix, _, definition) => {
  expect(await prefixOf(definition)).toBe(prefix);
});
