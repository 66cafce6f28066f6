/** config.json and its kin as Python's json module reads them: with NaN and Infinity, and a byte order mark passed over. */
import { LqError } from '../errors';
import { baseName } from '../format';
import type { FileSystem } from '../files/types';
import { foreignContent } from './foreign';

/** Configurations are a few kB; a vocabulary in one is a few MB. */
const MAX_BYTES = 64_000_000;
const NAN = '\u0000NaN';

/**
 * The object in a small JSON file.
 * @throws LqError 'config-json' saying what is wrong with the file, 'io', 'file-not-found'.
 */
export async function readConfigFile(files: FileSystem, file: string): Promise<Record<string, unknown>> {
  const fail = (what: string): LqError =>
    new LqError('config-json', `${baseName(file)} cannot be read: ${what}`, { file });
  const stat = await files.stat(file);
  if (stat?.directory) throw fail('it is a folder');
  if (stat && stat.bytes > MAX_BYTES) throw fail(`it has ${stat.bytes} bytes`);
  const bytes = await files.read(file, 0, stat?.bytes ?? 0);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw fail('it is not in UTF-8');
  }
  let value: unknown;
  try {
    value = parsePythonJson(text);
  } catch (error) {
    const foreign = /^\s*[{[]/.test(text) ? undefined : foreignContent(bytes.subarray(0, 512), bytes.length);
    throw fail(foreign === undefined ? (error as Error).message : `it is ${foreign}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail('it holds no object');
  return value as Record<string, unknown>;
}

/** JSON with the three words beyond it that Python writes and reads. @throws SyntaxError */
export function parsePythonJson(text: string): unknown {
  const plain = text.replace(/^\ufeff/, '');
  // Nearly every file is plain JSON; the words are looked for outside of strings.
  if (!/NaN|Infinity/.test(plain)) return parse(plain);
  const words = plain.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, token =>
    token === 'NaN' ? JSON.stringify(NAN) : token === 'Infinity' ? '1e999' : token === '-Infinity' ? '-1e999' : token,
  );
  return parse(words, (_, value: unknown) => (value === NAN ? Number.NaN : value));
}

function parse(text: string, reviver?: (key: string, value: unknown) => unknown): unknown {
  try {
    return JSON.parse(text, reviver);
  } catch (error) {
    // A document nested without end exhausts the stack of the parser.
    if (error instanceof RangeError) throw new SyntaxError('it is nested too deeply', { cause: error });
    throw error;
  }
}
