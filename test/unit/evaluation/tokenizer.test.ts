import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../extension/core/files/types';
import { TextTokenizer } from '../../../extension/core/evaluation/tokenizer';
import { nodeFiles } from '../../../extension/node/files';
import golden from '../../fixtures/tiny-books-4m.json';

const SAMPLE = 'media/sample/tiny-books-4m';
const evaluation = readFileSync('media/sample/evaluation.txt', 'utf8');

/** A file system that holds the given files and nothing else. */
function memoryFiles(contents: Record<string, string>): FileSystem {
  return {
    read: () => Promise.reject(new Error('not used')),
    list: () => Promise.reject(new Error('not used')),
    readText: path => Promise.resolve(contents[path]!),
    stat: path =>
      Promise.resolve(path in contents ? { bytes: contents[path]!.length, modified: 0, directory: false } : undefined),
  };
}

/** In the manner of Llama 2: no pre-tokenizer, spaces are letters of the vocabulary, one is put in front of every text. */
const sentencePiece = (() => {
  const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?\'"-()#&*';
  const characters = ['<unk>', '▁', '\n', ...Array.from(letters)];
  const merges = [
    '▁ t',
    't h',
    '▁t h',
    '▁th e',
    'e r',
    '▁ a',
    'a n',
    '▁a n',
    '▁an d',
    'i n',
    'i n g',
    '▁ ▁',
    'o u',
    '▁ w',
  ]
    .map(merge => merge.split(' '))
    .map(parts => (parts.length === 3 ? [parts[0]! + parts[1]!, parts[2]!] : parts));
  const tokens = [...characters, ...merges.map(parts => parts.join(''))];
  return JSON.stringify({
    version: '1.0',
    added_tokens: [],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: false,
      vocab: Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id])),
      merges: merges.map(parts => parts.join(' ')),
    },
  });
})();

describe('the tokenizer of a model', () => {
  it('gives the ids transformers gives', async () => {
    const tokenizer = await TextTokenizer.load(nodeFiles, SAMPLE);
    const ids = await tokenizer.encode(evaluation, { limit: 64 });
    expect([...ids]).toEqual(golden.eval_first64_tokens);
    expect(tokenizer.bos).toBe(0);
  });

  it.each([
    ['byte-level', () => readFileSync(`${SAMPLE}/tokenizer.json`, 'utf8')],
    ['sentence-piece', () => sentencePiece],
  ])('encodes a long text piece by piece as if whole (%s)', async (_, definition) => {
    const tokenizer = await TextTokenizer.load(memoryFiles({ 'm/tokenizer.json': definition() }), 'm');
    // Runs of spaces, lines and digits where a careless cut would change the ids.
    const text = evaluation.slice(0, 150_000) + '\n\n   1234  \t x  y'.repeat(5000) + evaluation.slice(0, 70_000);
    const whole = new Tokenizer(JSON.parse(definition()), {}).encode(text, { add_special_tokens: false }).ids;
    const pieces = await tokenizer.encode(text);
    expect(pieces.length).toBe(whole.length);
    expect([...pieces]).toEqual(whole);
  });

  it('encodes a text without a place to cut', async () => {
    const tokenizer = await TextTokenizer.load(nodeFiles, SAMPLE);
    const text = '0123456789'.repeat(10_000);
    const whole = new Tokenizer(JSON.parse(readFileSync(`${SAMPLE}/tokenizer.json`, 'utf8')), {}).encode(text).ids;
    expect([...(await tokenizer.encode(text))]).toEqual(whole);
  });

  it('stops when asked to', async () => {
    const tokenizer = await TextTokenizer.load(nodeFiles, SAMPLE);
    const stop = new AbortController();
    const running = tokenizer.encode(evaluation.repeat(20), { signal: stop.signal });
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  });

  it.each([
    ['no file', {}],
    ['no JSON', { 'm/tokenizer.json': '{' }],
    ['another JSON', { 'm/tokenizer.json': '[1, 2]' }],
    ['an unknown model', { 'm/tokenizer.json': '{"model":{"type":"Oracle"},"added_tokens":[]}' }],
  ])('refuses %s by name', async (_, contents) => {
    await expect(TextTokenizer.load(memoryFiles(contents as Record<string, string>), 'm')).rejects.toMatchObject({
      code: 'tokenizer',
      file: 'm/tokenizer.json',
    });
  });
});
