/** Text to token ids through the model's own tokenizer.json. */
import { joinPath } from '../files/paths';
import type { FileSystem } from '../files/types';
import type { CheckpointIndex } from '../checkpoint/types';
import { LqError } from '../errors';
import { ggufTokenizer } from './gguf-tokenizer';
import type { NativeModule, NativeTokenizer } from '../native';

/** Characters encoded at a time: about a tenth of a second, after which others get their turn and may cancel. */
const PIECE = 1 << 16;
/** Characters on either side of a cut that are encoded with and without it, to see that it changes nothing. */
const SURROUNDINGS = 256;
/** Places tried for a cut before the piece is made longer. */
const ATTEMPTS = 16;

/** Other forms of a tokenizer that model folders hold, and what makes a tokenizer.json of them. */
const OTHER_FORMS: readonly (readonly [file: string, what: string])[] = [
  ['tekken.json', "Mistral's tekken format"],
  ['tokenizer.model', 'a SentencePiece or tiktoken model'],
  ['sentencepiece.bpe.model', 'a SentencePiece model'],
  ['spiece.model', 'a SentencePiece model'],
  ['vocab.json', 'a vocabulary of separate files'],
  ['vocab.txt', 'a WordPiece vocabulary'],
];

/** The pipeline's file system and native code: what reading a tokenizer needs. */
export interface TokenizerHost {
  readonly files: FileSystem;
  readonly native: Pick<NativeModule, 'openTokenizer'>;
}

export interface EncodeOptions {
  /** Stop once this many ids are there; default all. */
  limit?: number;
  signal?: AbortSignal;
}

export class TextTokenizer {
  private constructor(
    private readonly tokenizer: NativeTokenizer,
    /** Where it was read. */
    readonly file: string,
    /** The text of tokenizer.json, whose hash is part of recipes. */
    readonly source: string,
    /** Id of the beginning-of-sequence token, when the model has one. */
    readonly bos: number | undefined,
    /** Ids of the mask and of what encloses a text, when the model has them. */
    readonly mask?: number,
    readonly first?: number,
    readonly last?: number,
  ) {}

  /**
   * The tokenizer of a checkpoint: that in the keys of a GGUF file, else the folder's, which also stands in for one in a
   * GGUF file that cannot be rebuilt exactly.
   * @throws LqError 'tokenizer' as `load` does.
   */
  static async ofCheckpoint(
    host: TokenizerHost,
    { folder, file, gguf }: Pick<CheckpointIndex, 'folder' | 'file' | 'gguf'>,
  ): Promise<TextTokenizer> {
    if (gguf) {
      try {
        const found = await ggufTokenizer(host.files, gguf, file);
        if (found) return await TextTokenizer.open(host, JSON.stringify(found.definition), file, found.bos);
      } catch (error) {
        const beside = (await host.files.stat(joinPath(folder, 'tokenizer.json'))) !== undefined;
        if (!beside || !(error instanceof LqError && error.code === 'tokenizer')) throw error;
      }
    }
    return TextTokenizer.load(host, folder);
  }

  private static async open(
    { native }: Pick<TokenizerHost, 'native'>,
    source: string,
    file: string,
    bos: string | undefined,
    special: SpecialTokens = {},
  ): Promise<TextTokenizer> {
    try {
      const tokenizer = await native.openTokenizer(source);
      const idOf = async (token: string | undefined): Promise<number | undefined> =>
        token === undefined ? undefined : await tokenizer.idOf(token);
      const [mask, first, last] = [await idOf(special.mask), await idOf(special.first), await idOf(special.last)];
      return new TextTokenizer(tokenizer, file, source, await idOf(bos), mask, first, last);
    } catch (error) {
      throw unusable(error, file);
    }
  }

  /**
   * Reads tokenizer.json of a model's folder, and the beginning-of-sequence token from the files transformers reads.
   * @throws LqError 'tokenizer' when there is none, saying what is there instead; when the library cannot make use of it;
   *   when it gives other ids each time (BPE dropout).
   */
  static async load({ files, native }: TokenizerHost, folder: string): Promise<TextTokenizer> {
    const file = joinPath(folder, 'tokenizer.json');
    if ((await files.stat(file)) === undefined) throw await missing(files, folder, file);
    const source = await files.readText(file);
    refuseDefinition(parseObject(source, file), file);
    const { bos, ...special } = await specialTokens(files, folder);
    return TextTokenizer.open({ native }, source, file, bos, special);
  }

  /**
   * Ids of a text without special tokens, exactly those of encoding it whole. Long texts are cut between words where
   * encoding the surroundings of the cut, whole and in two, gives the same ids.
   * @throws LqError 'cancelled'; 'tokenizer' when the library has no id for something in the text.
   */
  async encode(text: string, { limit = Infinity, signal }: EncodeOptions = {}): Promise<Int32Array> {
    const pieces: number[][] = [];
    let count = 0;
    for (let at = 0; at < text.length && count < limit;) {
      if (signal?.aborted) throw new LqError('cancelled', 'Cancelled.');
      const cut = await this.findCut(text, at + PIECE, signal);
      const ids = await this.ids(text.slice(at, cut.end), signal);
      pieces.push(ids);
      count += ids.length;
      at = cut.next;
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
  private async findCut(text: string, from: number, signal?: AbortSignal): Promise<{ end: number; next: number }> {
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
        const together = (await this.ids(left + right, signal)).join();
        const before = await this.ids(left, signal);
        for (const dropped of [0, 1]) {
          const after = await this.ids(right.slice(dropped), signal);
          if ([...before, ...after].join() === together) return { end, next: end + dropped };
        }
      }
    }
    return whole;
  }

  private async ids(text: string, signal?: AbortSignal): Promise<number[]> {
    try {
      return await this.tokenizer.encode(text, signal);
    } catch (error) {
      if (signal?.aborted) throw new LqError('cancelled', 'Cancelled.');
      throw unusable(error, this.file);
    }
  }
}

function unusable(error: unknown, file: string): LqError {
  if (error instanceof LqError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new LqError('tokenizer', `The tokenizer cannot be used: ${reason}`, { file });
}

/** The error for a folder without tokenizer.json: names what is there, and how to convert it. */
async function missing(files: FileSystem, folder: string, file: string): Promise<LqError> {
  const absent = `The model's tokenizer.json is missing from ${folder}`;
  for (const [name, what] of OTHER_FORMS) {
    if ((await files.stat(joinPath(folder, name))) === undefined) continue;
    const convert = `python -c "from transformers import AutoTokenizer as T; T.from_pretrained('.').save_pretrained('.')"`;
    return new LqError('tokenizer', `${absent}. It has ${name}, ${what}; in that folder, this writes it: ${convert}`, {
      file,
    });
  }
  return new LqError('tokenizer', `${absent}; copy it from the model that the weights come from.`, { file });
}

/**
 * Refuses BPE dropout, which leaves out merges at random, so that a perplexity would be another each time; and merges that
 * do not go on with the prefix they should, at which the library aborts the process.
 */
function refuseDefinition(definition: Record<string, unknown>, file: string): void {
  const { model } = definition;
  if (typeof model !== 'object' || model === null) return;
  const { dropout, merges, continuing_subword_prefix: prefix } = model as Record<string, unknown>;
  if (typeof dropout === 'number' && dropout > 0)
    throw new LqError('tokenizer', `tokenizer.json asks for BPE dropout of ${dropout}: its ids are random.`, { file });
  if (typeof prefix !== 'string' || !Array.isArray(merges)) return;
  for (const merge of merges as unknown[]) {
    const right: unknown = Array.isArray(merge)
      ? merge[1]
      : typeof merge === 'string'
        ? merge.split(' ')[1]
        : undefined;
    if (typeof right === 'string' && !right.startsWith(prefix))
      throw new LqError('tokenizer', `tokenizer.json merges "${right}", which lacks the prefix "${prefix}".`, { file });
  }
}

/** Tokens with a task: the mask, and what encloses a text in encoders. */
interface SpecialTokens {
  readonly mask?: string | undefined;
  readonly first?: string | undefined;
  readonly last?: string | undefined;
}

/**
 * Tokens with a task as transformers finds them: in tokenizer_config.json, and where that lists no `added_tokens_decoder`,
 * special_tokens_map.json says the last word.
 */
async function specialTokens(
  files: FileSystem,
  folder: string,
): Promise<SpecialTokens & { readonly bos: string | undefined }> {
  const read = async (name: string): Promise<Record<string, unknown>> => {
    const file = joinPath(folder, name);
    return (await files.stat(file)) ? parseObject(await files.readText(file), file) : {};
  };
  const config = await read('tokenizer_config.json');
  const map = 'added_tokens_decoder' in config ? {} : await read('special_tokens_map.json');
  const named = (key: string): string | undefined => {
    const token = key in map ? map[key] : config[key];
    // Text, or an object with its content.
    const content = typeof token === 'object' && token !== null ? (token as { content?: unknown }).content : token;
    return typeof content === 'string' ? content : undefined;
  };
  return { bos: named('bos_token'), mask: named('mask_token'), first: named('cls_token'), last: named('sep_token') };
}

function parseObject(text: string, file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below, with the file's name.
  }
  throw new LqError('tokenizer', `${file} is not a JSON object.`, { file });
}
