/** Text as the language model is given it: non-overlapping windows of equal length. */
import type { FileSystem } from '../files/types';
import { LqError } from '../errors';
import type { Part } from '../lanes';
import { maskTokens } from './masks';
import { readTextFile, type Text } from './text';
import type { TextTokenizer } from './tokenizer';

export interface WindowOptions {
  /** Tokens a window. */
  context: number;
  /** How many, from the start of the text; absent for all that fit. */
  windows?: number;
  /** Whether every window begins with the model's beginning-of-sequence token, in place of a token of text. */
  bos?: boolean;
  /**
   * Whether masked tokens are predicted. Windows then begin and end with the tokens that texts have in the model's training
   * (CLS and SEP), where the tokenizer has them.
   */
  masked?: boolean;
}

/** Row-major [windows, context] token ids. */
export interface Windows {
  readonly tokens: Int32Array;
  readonly windows: number;
  readonly context: number;
  /** Tokens of a window that are predicted. */
  readonly predictions: number;
  /** Id that stands for masked tokens, which are negative; absent where the next tokens are predicted. */
  readonly mask?: number;
}

/** Tokens of a part of the windows. */
export const tokensOf = (
  { tokens, context }: Pick<Windows, 'tokens' | 'context'>,
  { first, count }: Part,
): Int32Array => tokens.subarray(first * context, (first + count) * context);

/**
 * Cuts ids into windows; what is left at the end is not used.
 * @param bos the id to begin each window with, or undefined for none
 * @param end the id to end each window with
 * @throws LqError 'usage', or 'text-too-short' when not even one window, or not as many as asked for, can be filled.
 */
export function cutWindows(
  ids: Int32Array,
  { context, windows }: WindowOptions,
  bos: number | undefined,
  file: string,
  end?: number,
): Windows {
  const before = bos === undefined ? 0 : 1;
  const stride = context - before - (end === undefined ? 0 : 1);
  const available = Math.floor(ids.length / stride);
  const count = windows ?? available;
  if (count > available || available === 0) {
    const message = `${file} has ${ids.length} tokens; ${count || 1} windows of ${context} need ${(count || 1) * stride}.`;
    throw new LqError('text-too-short', message, { file, details: { tokens: ids.length, windows: available } });
  }
  const tokens = new Int32Array(count * context);
  for (let window = 0; window < count; window++) {
    const row = tokens.subarray(window * context, (window + 1) * context);
    if (bos !== undefined) row[0] = bos;
    row.set(ids.subarray(window * stride, (window + 1) * stride), before);
    if (end !== undefined) row[context - 1] = end;
  }
  return { tokens, windows: count, context, predictions: context - 1 };
}

/**
 * Reads a text and cuts it into windows.
 * @param vocab size of the model's vocabulary: a tokenizer that goes beyond is another model's
 * @returns also the text, and what reading it changed
 * @throws LqError 'usage', 'text-too-short', 'text-encoding', 'tokenizer', 'file-not-found', 'cancelled'.
 */
export async function readWindows(
  files: FileSystem,
  tokenizer: TextTokenizer,
  vocab: number,
  file: string,
  options: WindowOptions,
  signal?: AbortSignal,
): Promise<Windows & Text> {
  const { context, windows, bos = false, masked = false } = options;
  if (masked && tokenizer.mask === undefined)
    throw new LqError(
      'tokenizer',
      'The model predicts masked tokens, and its tokenizer has no mask: tokenizer_config.json and special_tokens_map.json name none.',
      { file: tokenizer.file },
    );
  if (!Number.isInteger(context) || context < (masked ? 4 : 2))
    throw new LqError('usage', `A context of ${context} tokens is too short.`);
  if (windows !== undefined && (!Number.isInteger(windows) || windows < 1))
    throw new LqError('usage', `${windows} is not a number of windows.`);
  if (bos && tokenizer.bos === undefined)
    throw new LqError(
      'tokenizer',
      'The tokenizer has no beginning-of-sequence token: tokenizer_config.json and special_tokens_map.json name none.',
      { file: tokenizer.file },
    );
  const { text, notes } = await readTextFile(files, file);
  const ids = await tokenizer.encode(text, {
    ...(windows !== undefined && { limit: windows * context }),
    ...(signal !== undefined && { signal }),
  });
  const beyond = ids.findIndex(id => id < 0 || id >= vocab);
  if (beyond >= 0) {
    const message = `The tokenizer gives id ${ids[beyond]}, the model's vocabulary has ${vocab}: it belongs to another model.`;
    throw new LqError('tokenizer', message, { file: tokenizer.file });
  }
  if (!masked) return { ...cutWindows(ids, options, bos ? tokenizer.bos : undefined, file), text, notes };
  const { first, last } = tokenizer;
  const cut = cutWindows(ids, options, first, file, last);
  const [from, to] = [first === undefined ? 0 : 1, last === undefined ? context : context - 1];
  const predictions = maskTokens(cut.tokens, context, from, to);
  const note = `The model predicts masked tokens: of ${to - from} in a window ${predictions} are masked, always the same, and the perplexity is that of these (pseudo-perplexity).`;
  return { ...cut, predictions, mask: tokenizer.mask!, text, notes: [...notes, note] };
}
