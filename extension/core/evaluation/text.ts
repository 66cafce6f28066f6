/**
 * Text files as a language model is given them: UTF-8, decoded strictly, read as Python's text mode reads. Another encoding
 * decoded as if it were UTF-8 gives a perplexity of replacement characters, so it is refused by name.
 */
import { LqError } from '../errors';
import type { FileSystem } from '../files/types';

/** Raised when a model, text or tokenizer is read in another way, so that older figures are not reused. */
export const EVALUATION_VERSION = 2;

export interface Text {
  readonly text: string;
  /** What reading changed, one sentence each, for reports. */
  readonly notes: readonly string[];
}

/** Below what a string can hold, whatever its characters. */
const MAXIMUM_BYTES = 256 * 1024 * 1024;
/** Bytes looked at to tell UTF-16 without a byte order mark from other binary content. */
const SAMPLE = 4096;

/** First bytes of what is taken for a text now and then. */
const SIGNATURES: readonly (readonly [what: string, bytes: readonly number[]])[] = [
  ['UTF-32', [0xff, 0xfe, 0x00, 0x00]],
  ['UTF-32', [0x00, 0x00, 0xfe, 0xff]],
  ['UTF-16', [0xff, 0xfe]],
  ['UTF-16', [0xfe, 0xff]],
  ['a gzip archive', [0x1f, 0x8b]],
  ['a zip archive', [0x50, 0x4b, 0x03, 0x04]],
  ['a Zstandard archive', [0x28, 0xb5, 0x2f, 0xfd]],
  ['a Parquet table', [0x50, 0x41, 0x52, 0x31]],
  ['an Arrow table', [0x41, 0x52, 0x52, 0x4f, 0x57, 0x31]],
  ['a PDF document', [0x25, 0x50, 0x44, 0x46]],
  ['a GGUF file', [0x47, 0x47, 0x55, 0x46]],
];

/**
 * Reads a text: a byte order mark is dropped, CRLF and CR become LF, both said in `notes`.
 * @throws LqError 'text-encoding' naming what the file is instead, with the place of the first wrong byte; 'usage' for a
 *   text of more than 256 MiB; 'file-not-found', 'io'.
 */
export async function readTextFile(files: FileSystem, file: string): Promise<Text> {
  const found = await files.stat(file);
  if (found === undefined) throw new LqError('file-not-found', `${file} does not exist.`, { file });
  if (found.directory) throw new LqError('usage', `${file} is a folder; a text file is needed.`, { file });
  if (found.bytes > MAXIMUM_BYTES)
    throw new LqError('usage', `${file} has ${found.bytes} bytes; a text may have ${MAXIMUM_BYTES}. Take a part.`, {
      file,
    });
  const bytes = await files.read(file, 0, found.bytes);
  return normalise(decode(bytes, file), bytes, file);
}

function decode(bytes: Uint8Array, file: string): string {
  const refuse = (what: string): never => {
    throw new LqError('text-encoding', `${file} is not a UTF-8 text: ${what}.`, { file });
  };
  const convert = (from: string): string => `convert it with "iconv -f ${from} -t UTF-8"`;
  const signature = SIGNATURES.find(([, start]) => start.every((byte, i) => bytes[i] === byte));
  if (signature !== undefined) {
    const [what] = signature;
    refuse(what.startsWith('UTF-') ? `its byte order mark is that of ${what}; ${convert(what)}` : `it is ${what}`);
  }
  const nul = bytes.indexOf(0);
  if (nul >= 0) {
    const guess = wideOrder(bytes);
    if (guess !== undefined) refuse(`it looks like ${guess}; ${convert(guess)}`);
    refuse(`it is binary, with a zero byte at ${nul}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const { first, wrong, right } = wellFormed(bytes);
    const place = `byte 0x${bytes[first]!.toString(16).toUpperCase().padStart(2, '0')} at ${first}`;
    // In a text of another encoding hardly any letter beyond ASCII happens to be well formed.
    if (right > wrong) refuse(`${place} is broken, as are ${wrong - 1} more`);
    return refuse(`${place} is none of it. It may be Latin-1 or Windows-1252; ${convert('WINDOWS-1252')}`);
  }
}

function normalise(decoded: string, bytes: Uint8Array, file: string): Text {
  const notes: string[] = [];
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf)
    notes.push(`${file}: the byte order mark at its start was left out.`);
  const returns = decoded.includes('\r') ? (decoded.match(/\r\n?/g) ?? []).length : 0;
  if (returns === 0) return { text: decoded, notes };
  notes.push(`${file}: ${returns} line ends of CRLF or CR were read as LF, as Python's text mode does.`);
  return { text: decoded.replace(/\r\n?/g, '\n'), notes };
}

/** UTF-16 of a text mostly in Latin letters has its zeros on one side. */
function wideOrder(bytes: Uint8Array): string | undefined {
  const zeros = [0, 0];
  const length = Math.min(SAMPLE, bytes.length);
  for (let i = 0; i < length; i++) if (bytes[i] === 0) zeros[i % 2]!++;
  const [even, odd] = zeros as [number, number];
  if (odd > length / 4 && even < odd / 8) return 'UTF-16LE';
  if (even > length / 4 && odd < even / 8) return 'UTF-16BE';
  return undefined;
}

/** Where UTF-8 is first broken, how many bytes are, and how many characters beyond ASCII are well formed. */
function wellFormed(bytes: Uint8Array): { first: number; wrong: number; right: number } {
  let first = -1;
  let wrong = 0;
  let right = 0;
  for (let i = 0; i < bytes.length;) {
    const length = sequenceLength(bytes, i);
    if (length === 0) {
      if (first < 0) first = i;
      wrong++;
      i++;
    } else {
      if (length > 1) right++;
      i += length;
    }
  }
  return { first: Math.max(0, first), wrong, right };
}

/** Bytes of the UTF-8 sequence at `at` (Unicode 15, table 3-7), or 0 when there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  // The second byte of these leads keeps overlong forms, surrogates and values beyond U+10FFFF out.
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i] ?? 0;
    if (byte < (i === 1 ? low : 0x80) || byte > (i === 1 ? high : 0xbf)) return 0;
  }
  return length;
}
