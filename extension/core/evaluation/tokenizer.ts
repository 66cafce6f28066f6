/** Text to token ids through the model's own tokenizer.json. */
import { Tokenizer } from '@huggingface/tokenizers';
import { joinPath } from '../files/paths';
import type { FileSystem } from '../files/types';
import { LqError } from '../errors';

/** Characters encoded at a time: about a tenth of a second, after which others get their turn and may cancel. */
const PIECE = 1 << 16;
/** Characters on either side of a cut that are encoded with and without it, to see that it changes nothing. */
const SURROUNDINGS = 256;
/** Places tried for a cut before the piece is made longer. */
const ATTEMPTS = 16;

export interface EncodeOptions {
  /** Stop once this many ids are there; default all. */
  limit?: number;
  signal?: AbortSignal;
}

export class TextTokenizer {
  private constructor(
    private readonly tokenizer: Tokenizer,
    /** Where it was read. */
    readonly file: string,
    /** The text of tokenizer.json, whose hash is part of recipes. */
    readonly source: string,
    /** Id of the beginning-of-sequence token, when the model has one. */
    readonly bos: number | undefined,
  ) {}

  /**
   * Reads tokenizer.json and tokenizer_config.json of a model's folder.
   * @throws LqError 'tokenizer' when there is none or the library cannot make use of it.
   */
  static async load(files: FileSystem, folder: string): Promise<TextTokenizer> {
    const file = joinPath(folder, 'tokenizer.json');
    if ((await files.stat(file)) === undefined)
      throw new LqError('tokenizer', `The model's tokenizer.json is missing from ${folder}.`, { file });
    const configFile = joinPath(folder, 'tokenizer_config.json');
    const source = await files.readText(file);
    const config = (await files.stat(configFile)) ? parseObject(await files.readText(configFile), configFile) : {};
    const definition = parseObject(source, file);
    try {
      const tokenizer = new Tokenizer(definition, config);
      return new TextTokenizer(tokenizer, file, source, bosId(tokenizer, config['bos_token']));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new LqError('tokenizer', `The tokenizer cannot be used: ${reason}`, { file });
    }
  }

  /**
   * Ids of a text without special tokens, exactly those of encoding it whole. Long texts are cut between words where
   * encoding the surroundings of the cut, whole and in two, gives the same ids.
   * @throws LqError 'cancelled'
   */
  async encode(text: string, { limit = Infinity, signal }: EncodeOptions = {}): Promise<Int32Array> {
    const pieces: number[][] = [];
    let count = 0;
    for (let at = 0; at < text.length && count < limit;) {
      if (signal?.aborted) throw new LqError('cancelled', 'Cancelled.');
      const cut = this.findCut(text, at + PIECE);
      const ids = this.ids(text.slice(at, cut.end));
      pieces.push(ids);
      count += ids.length;
      at = cut.next;
      await nextTurn();
    }
    const all = new Int32Array(Math.min(count, limit));
    let filled = 0;
    for (const ids of pieces) {
      const used = ids.length <= all.length - filled ? ids : ids.slice(0, all.length - filled);
      all.set(used, filled);
      filled += used.length;
    }
    return all;
  }

  /**
   * The first place from `from` on where the text can be cut: one piece ends at `end`, the following begins at `next`.
   * Tokenizers that put a space in front of every text need the space at the cut dropped, the others need it kept.
   */
  private findCut(text: string, from: number): { end: number; next: number } {
    const whole = { end: text.length, next: text.length };
    const betweenWords = /\p{L} \p{L}/gu;
    for (let start = from; start < text.length; start += PIECE) {
      betweenWords.lastIndex = start;
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const match = betweenWords.exec(text);
        if (match === null) return whole;
        const end = match.index + match[0].indexOf(' ');
        const left = text.slice(Math.max(0, end - SURROUNDINGS), end);
        const right = text.slice(end, end + SURROUNDINGS);
        const together = this.ids(left + right).join();
        const before = this.ids(left);
        for (const dropped of [0, 1]) {
          if ([...before, ...this.ids(right.slice(dropped))].join() === together) return { end, next: end + dropped };
        }
      }
    }
    return whole;
  }

  private ids(text: string): number[] {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }
}

const nextTurn = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 0));

function parseObject(text: string, file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below, with the file's name.
  }
  throw new LqError('tokenizer', `${file} is not a JSON object.`, { file });
}

/** tokenizer_config.json gives the token as text or as an object with its content. */
function bosId(tokenizer: Tokenizer, token: unknown): number | undefined {
  const content = typeof token === 'object' && token !== null ? (token as { content?: unknown }).content : token;
  return typeof content === 'string' ? tokenizer.token_to_id(content) : undefined;
}
