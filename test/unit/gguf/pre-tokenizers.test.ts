/** Pre-tokenizers by what a tokenizer.json says, as published ones say it, and by llama.cpp's names. */
import { describe, expect, it } from 'vitest';
import { preTokenizerNamed, preTokenizerOf } from '../../../extension/core/evaluation/pre-tokenizers';

const split = (regex: string, more: Record<string, unknown> = {}): unknown => ({
  ...{ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
  ...more,
});
const bytes = (regex: boolean): unknown => ({
  ...{ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: regex },
});
const sequence = (...pretokenizers: unknown[]): unknown => ({ type: 'Sequence', pretokenizers });
const digits = (individual: boolean): unknown => ({ type: 'Digits', individual_digits: individual });

const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/** The expression of cl100k, in its own spelling. */
const CL100K =
  "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
const QWEN2 = LLAMA3.replace('{1,3}', '');
const O200K =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const TEKKEN =
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const whole = { model: { ignore_merges: true } };

describe('a pre-tokenizer', () => {
  it.each<[string, unknown, Record<string, unknown>]>([
    ['gpt-2', bytes(true), {}],
    ['llama-bpe', sequence(split(LLAMA3), bytes(false)), whole],
    ['smaug-bpe', sequence(split(LLAMA3), bytes(false)), {}],
    ['smaug-bpe', sequence(split(CL100K, { behavior: 'Removed', invert: true }), bytes(false)), {}],
    ['qwen2', sequence(split(QWEN2), bytes(false)), { normalizer: { type: 'NFC' } }],
    ['smollm', sequence(digits(true), bytes(true)), {}],
    ['gpt-4o', sequence(split(O200K), bytes(false)), {}],
    ['tekken', sequence(split(TEKKEN), bytes(false)), whole],
    [
      'deepseek-coder',
      sequence(
        ...[split('[\r\n]'), split('\\s?\\p{L}+'), split('\\s?\\p{P}+'), split('[一-龥ࠀ-一가-퟿]+')],
        ...[digits(true), bytes(false)],
      ),
      { normalizer: { type: 'Sequence', normalizers: [] } },
    ],
    [
      'deepseek-v3',
      sequence(
        ...[split('\\p{N}{1,3}'), split('[一-龥぀-ゟ゠-ヿ]+')],
        split(
          '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
        ),
        bytes(false),
      ),
      {},
    ],
    [
      'falcon',
      sequence(
        ...[{ type: 'Punctuation', behavior: 'Contiguous' }, bytes(true), digits(false)],
        split('[0-9][0-9][0-9]'),
      ),
      {},
    ],
    ['bloom', sequence(split(' ?[^(\\s|.,!?…。，、।۔،)]+'), bytes(false)), {}],
  ])('is %s', (name, preTokenizer, more) => {
    expect(preTokenizerOf({ normalizer: null, pre_tokenizer: preTokenizer, model: {}, ...more })).toEqual({ name });
    // What is read back by that name is recognised by it.
    const back = preTokenizerNamed(name)!;
    const definition = {
      normalizer: back.normalizer,
      pre_tokenizer: back.preTokenizer,
      model: { ignore_merges: back.ignoreMerges },
    };
    expect(preTokenizerOf(definition)).toEqual({ name });
  });

  it.each<[RegExp, unknown, Record<string, unknown>]>([
    [/Metaspace/, { type: 'Metaspace' }, {}],
    [/a space before/, { type: 'ByteLevel', add_prefix_space: true, use_regex: true }, {}],
    [/with ignore_merges/, bytes(true), whole],
    [/without ignore_merges/, sequence(split(TEKKEN), bytes(false)), {}],
    [/normalizer Lowercase/, bytes(true), { normalizer: { type: 'Lowercase' } }],
    [/\\p\{L\}\+\$/, sequence(split('\\p{L}+$'), bytes(false)), {}],
    [/none/, null, {}],
  ])('that llama.cpp has no name for is named: %s', (what, preTokenizer, more) => {
    const found = preTokenizerOf({ normalizer: null, pre_tokenizer: preTokenizer, model: {}, ...more });
    expect(found).toEqual({ unknown: expect.stringMatching(what) as string });
  });

  it('of a name that is not known is none', () => {
    expect(preTokenizerNamed('toString')).toBeUndefined();
    expect(preTokenizerNamed('default')).toBeUndefined();
  });
});
