import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../extension/core/files/types';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { nodeFiles } from '../../extension/node/files';
import golden from '../fixtures/tiny-books-4m.json';
import { descendants } from '../harness/processes';
import { native } from './native';

const SAMPLE = 'media/sample/tiny-books-4m';
const evaluation = readFileSync('media/sample/evaluation.txt', 'utf8');

/** A folder `m` that holds the given files and nothing else. */
function folder(contents: Record<string, string>): { files: FileSystem; native: typeof native } {
  const text = (path: string): string | undefined => contents[path.replace(/^m\//, '')];
  return {
    native,
    files: {
      read: () => Promise.reject(new Error('not used')),
      list: () => Promise.reject(new Error('not used')),
      readText: path => Promise.resolve(text(path)!),
      stat: path => {
        const bytes = text(path)?.length;
        return Promise.resolve(bytes === undefined ? undefined : { bytes, modified: 0, directory: false });
      },
    },
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
    const tokenizer = await TextTokenizer.load({ files: nodeFiles, native }, SAMPLE);
    const ids = await tokenizer.encode(evaluation, { limit: 64 });
    expect([...ids]).toEqual(golden.eval_first64_tokens);
    expect(tokenizer.bos).toBe(0);
  });

  it.each([
    ['byte-level', () => readFileSync(`${SAMPLE}/tokenizer.json`, 'utf8')],
    ['sentence-piece', () => sentencePiece],
  ])('encodes a long text piece by piece as if whole (%s)', async (_, definition) => {
    const tokenizer = await TextTokenizer.load(folder({ 'tokenizer.json': definition() }), 'm');
    // Runs of spaces, lines and digits where a careless cut would change the ids.
    const text = evaluation.slice(0, 150_000) + '\n\n   1234  \t x  y'.repeat(5000) + evaluation.slice(0, 70_000);
    const whole = await (await native.openTokenizer(definition())).encode(text);
    const pieces = await tokenizer.encode(text);
    expect(pieces.length).toBe(whole.length);
    expect([...pieces]).toEqual(whole);
  });

  it('encodes a text without a place to cut', async () => {
    const tokenizer = await TextTokenizer.load({ files: nodeFiles, native }, SAMPLE);
    const text = '0123456789'.repeat(10_000);
    const whole = await (await native.openTokenizer(readFileSync(`${SAMPLE}/tokenizer.json`, 'utf8'))).encode(text);
    expect([...(await tokenizer.encode(text))]).toEqual(whole);
  });

  it('stops when asked to', async () => {
    const tokenizer = await TextTokenizer.load({ files: nodeFiles, native }, SAMPLE);
    const stop = new AbortController();
    const running = tokenizer.encode(evaluation.repeat(20), { signal: stop.signal });
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('is one process for all that open the same, and another for another', async () => {
    const definition = readFileSync(`${SAMPLE}/tokenizer.json`, 'utf8');
    const processes = (): number => descendants(process.pid, 'tokenizer-process').length;
    await native.openTokenizer(definition);
    const before = processes();
    for (let again = 0; again < 3; again++) await native.openTokenizer(definition);
    expect(processes()).toBe(before);
    await native.openTokenizer(`${definition}\n`);
    expect(processes()).toBe(before + 1);
  });

  it('that one stops answers the others', async () => {
    const definition = `${readFileSync(`${SAMPLE}/tokenizer.json`, 'utf8')} `;
    const [one, other] = await Promise.all([native.openTokenizer(definition), native.openTokenizer(definition)]);
    const stop = new AbortController();
    const stopped = one.encode(evaluation.repeat(20), stop.signal);
    const answered = other.encode('the hat');
    stop.abort();
    await expect(stopped).rejects.toThrow('stopped');
    expect(await answered).toEqual(await one.encode('the hat'));
  });

  it('leaves out the truncation and padding that a file asks for', async () => {
    const definition = {
      ...(JSON.parse(sentencePiece) as object),
      truncation: { max_length: 3, strategy: 'LongestFirst', stride: 0, direction: 'Right' },
      padding: { strategy: { Fixed: 64 }, direction: 'Right', pad_id: 0, pad_type_id: 0, pad_token: '<unk>' },
    };
    const tokenizer = await TextTokenizer.load(folder({ 'tokenizer.json': JSON.stringify(definition) }), 'm');
    expect([...(await tokenizer.encode('the hat'))]).toEqual(
      await (await native.openTokenizer(sentencePiece)).encode('the hat'),
    );
  });

  it.each([
    ['tokenizer_config.json', { 'tokenizer_config.json': '{"bos_token":"▁the"}' }, '▁the'],
    ['an object there', { 'tokenizer_config.json': '{"bos_token":{"content":"▁the"}}' }, '▁the'],
    ['special_tokens_map.json', { 'special_tokens_map.json': '{"bos_token":"▁and"}' }, '▁and'],
    [
      'the map over the configuration',
      {
        'special_tokens_map.json': '{"bos_token":{"content":"▁and"}}',
        'tokenizer_config.json': '{"bos_token":"▁the"}',
      },
      '▁and',
    ],
    [
      'the configuration alone where it lists added tokens',
      {
        'special_tokens_map.json': '{"bos_token":"▁and"}',
        'tokenizer_config.json': '{"bos_token":"▁the","added_tokens_decoder":{}}',
      },
      '▁the',
    ],
    ['no file', {}, undefined],
    ['a token outside the vocabulary', { 'tokenizer_config.json': '{"bos_token":"<bos>"}' }, undefined],
  ])('reads the beginning-of-sequence token from %s', async (_, contents, token) => {
    const host = folder({ 'tokenizer.json': sentencePiece, ...contents });
    const { bos } = await TextTokenizer.load(host, 'm');
    expect(bos).toBe(token === undefined ? undefined : await (await native.openTokenizer(sentencePiece)).idOf(token));
    if (token !== undefined) expect(bos).toBeGreaterThan(0);
  });

  it.each([
    ['no file', {}, /missing from m/],
    ['a SentencePiece model', { 'tokenizer.model': '' }, /tokenizer\.model.*AutoTokenizer/],
    ['tekken', { 'tekken.json': '{}' }, /tekken\.json.*AutoTokenizer/],
    ['separate files', { 'vocab.json': '{}', 'merges.txt': '' }, /vocab\.json.*AutoTokenizer/],
    ['no JSON', { 'tokenizer.json': '{' }, /not a JSON object/],
    ['another JSON', { 'tokenizer.json': '[1, 2]' }, /not a JSON object/],
    ['an unknown model', { 'tokenizer.json': '{"model":{"type":"Oracle"},"added_tokens":[]}' }, /cannot be used/],
    [
      'merges without their prefix',
      { 'tokenizer.json': sentencePiece.replace('"BPE",', '"BPE","continuing_subword_prefix":"##",') },
      /lacks the prefix/,
    ],
    ['random merges', { 'tokenizer.json': sentencePiece.replace('"BPE",', '"BPE","dropout":0.1,') }, /dropout of 0.1/],
  ])('refuses %s by name', async (_, contents, message) => {
    await expect(TextTokenizer.load(folder(contents as Record<string, string>), 'm')).rejects.toMatchObject({
      code: 'tokenizer',
      file: 'm/tokenizer.json',
      message: expect.stringMatching(message) as string,
    });
  });

  // Each of these ends the process that the library is in.
  const BREAKING: [string, (definition: Record<string, unknown>) => void][] = [
    ['pieces of no length', definition => (definition['pre_tokenizer'] = { type: 'FixedLength', length: 0 })],
    [
      'a normalizer that was cut short',
      definition => (definition['normalizer'] = { type: 'Precompiled', precompiled_charsmap: 'AAAA' }),
    ],
  ];

  it.each(BREAKING)('survives %s, at which the library aborts', async (_, damage) => {
    const sound = await TextTokenizer.load(folder({ 'tokenizer.json': sentencePiece }), 'm');
    const definition = JSON.parse(sentencePiece) as Record<string, unknown>;
    damage(definition);
    const broken = TextTokenizer.load(folder({ 'tokenizer.json': JSON.stringify(definition) }), 'm');
    await expect(broken.then(each => each.encode(`${'a'.repeat(40)} b!`))).rejects.toMatchObject({
      code: 'tokenizer',
      file: 'm/tokenizer.json',
      message: expect.stringMatching(/cannot be used: the library broke off: \w/) as string,
    });
    expect((await sound.encode('the hat')).length).toBeGreaterThan(0);
  });
});
