import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../extension/core/files/types';
import { readTextFile } from '../../../extension/core/evaluation/text';

/** Reads `bytes` as the text `t`. */
function read(bytes: Uint8Array, size = bytes.length) {
  const files = {
    read: () => Promise.resolve(bytes),
    stat: (path: string) => Promise.resolve(path === 't' ? { bytes: size, modified: 0, directory: false } : undefined),
  } as Partial<FileSystem> as FileSystem;
  return readTextFile(files, 't');
}
const utf8 = (text: string): Uint8Array => Buffer.from(text, 'utf8');

describe('a text', () => {
  it.each(['', 'plain\n', 'é 日本 🍣 \u{10ffff}\uffff', 'line\u2028separators\u0085 stay\n\n', 'a\ufeffb'])(
    'is read as it is: %j',
    async text => {
      expect(await read(utf8(text))).toEqual({ text, notes: [] });
    },
  );

  // Python: open(file, encoding='utf-8').read() with its default universal newlines.
  it('has its line ends read as Python reads them, and says so', async () => {
    const { text, notes } = await read(utf8('a\r\nb\rc\n\r\n\r\r\nd'));
    expect(text).toBe('a\nb\nc\n\n\n\nd');
    expect(notes).toEqual([expect.stringContaining('5 line ends')]);
  });

  it('loses a byte order mark, and says so', async () => {
    const { text, notes } = await read(utf8('\ufefftext'));
    expect(text).toBe('text');
    expect(notes).toEqual([expect.stringContaining('byte order mark')]);
  });

  const wide = Buffer.from('A text of some words.\n'.repeat(20), 'utf16le');
  it.each([
    ['UTF-16 with its mark', Buffer.concat([Buffer.of(0xff, 0xfe), wide]), /UTF-16; convert it with "iconv -f UTF-16 /],
    ['UTF-16, big-endian', Buffer.from(wide).swap16(), /UTF-16BE/],
    ['UTF-16 without a mark', wide, /UTF-16LE/],
    ['UTF-32', Buffer.of(0xff, 0xfe, 0, 0, 65, 0, 0, 0), /UTF-32/],
    ['Latin-1', Buffer.from('Il était une fois, là-bas, une forêt.', 'latin1'), /0xE9 at 3.*WINDOWS-1252/],
    [
      'one broken character among many',
      Buffer.concat([utf8('été été'), Buffer.of(0xe2, 0x82), utf8(' é')]),
      /0xE2 at 11 is broken/,
    ],
    ['an end in the middle of a character', utf8('ééé').subarray(0, 5), /0xC3 at 4 is broken/],
    ['an overlong form', Buffer.concat([utf8('éé'), Buffer.of(0xc0, 0xaf)]), /0xC0 at 4/],
    ['a surrogate', Buffer.concat([utf8('éééé'), Buffer.of(0xed, 0xa0, 0x80)]), /0xED at 8/],
    ['zero bytes', Buffer.of(65, 66, 0, 67), /zero byte at 2/],
    ['gzip', Buffer.of(0x1f, 0x8b, 8, 0, 0), /gzip/],
    ['Parquet', utf8('PAR1....'), /Parquet/],
  ])('is refused by name when it is %s', async (_, bytes, message) => {
    await expect(read(bytes)).rejects.toMatchObject({
      code: 'text-encoding',
      file: 't',
      message: expect.stringMatching(message) as string,
    });
  });

  it('is refused when no string can hold it', async () => {
    await expect(read(utf8('a'), 2 ** 30)).rejects.toMatchObject({ code: 'usage', file: 't' });
  });
});
