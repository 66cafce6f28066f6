/** The tokenizer in a GGUF file's keys, as the tokenizer.json it was made from. */
import { arrayItems } from '../checkpoint/gguf/metadata';
import { isArray, type GgufMetadata, type GgufScalar } from '../checkpoint/gguf/values';
import { LqError } from '../errors';
import type { FileSystem } from '../files/types';
import { preTokenizerNamed } from './pre-tokenizers';

export interface GgufTokenizer {
  /** What tokenizer.json would hold. */
  readonly definition: Record<string, unknown>;
  /** The beginning-of-sequence token. */
  readonly bos: string | undefined;
}

/** Of tokenizer.ggml.token_type. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER = 4;

/**
 * The tokenizer of a GGUF file, or undefined when the file has none.
 * @throws LqError 'tokenizer' for a kind that cannot be rebuilt exactly, named.
 */
export async function ggufTokenizer(
  files: FileSystem,
  metadata: GgufMetadata,
  file: string,
): Promise<GgufTokenizer | undefined> {
  const refuse = (what: string): never => {
    throw new LqError('tokenizer', `${what}; a tokenizer.json beside the file would be used instead.`, { file });
  };
  const list = async (key: string): Promise<GgufScalar[] | undefined> => {
    const array = metadata.get(`tokenizer.ggml.${key}`);
    return isArray(array) ? arrayItems(files, array) : undefined;
  };
  const model = metadata.get('tokenizer.ggml.model');
  if (model === undefined) return undefined;
  const tokens = (await list('tokens')) as string[] | undefined;
  if (!tokens) return refuse('The file names a tokenizer and has no tokens');
  const types = (await list('token_type')) ?? [];
  const definition =
    model === 'gpt2'
      ? byteLevel(tokens, (await list('merges')) as string[] | undefined, metadata.get('tokenizer.ggml.pre'), refuse)
      : model === 'llama'
        ? sentencePiece(tokens, (await list('scores')) as number[] | undefined, metadata, refuse)
        : refuse(`The tokenizer model ${JSON.stringify(model)} is not supported`);
  const special = tokens.flatMap((content, id) =>
    // What stands for the unknown is found in a text like any other of these.
    [UNKNOWN, CONTROL, USER].includes(Number(types[id]))
      ? [
          {
            ...{ id, content, single_word: false, lstrip: false, rstrip: false },
            ...{ normalized: false, special: types[id] !== USER },
          },
        ]
      : [],
  );
  const bos = metadata.get('tokenizer.ggml.bos_token_id');
  return {
    definition: { version: '1.0', truncation: null, padding: null, added_tokens: special, ...definition },
    bos: typeof bos === 'number' ? tokens[bos] : undefined,
  };
}

const idsOf = (tokens: readonly string[]): Record<string, number> =>
  Object.fromEntries(tokens.map((token, id) => [token, id]));

function byteLevel(
  tokens: readonly string[],
  merges: readonly string[] | undefined,
  pre: unknown,
  refuse: (what: string) => never,
): Record<string, unknown> {
  if (!merges) return refuse('The tokenizer has no merges');
  const name = typeof pre === 'string' ? pre : 'default';
  const known = preTokenizerNamed(name) ?? refuse(`The pre-tokenizer ${JSON.stringify(name)} is not supported`);
  return {
    normalizer: known.normalizer,
    pre_tokenizer: known.preTokenizer,
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { ...bpe(tokens), ignore_merges: known.ignoreMerges, merges: merges.map(merge => merge.split(' ')) },
  };
}

/** SentencePiece's greedy joining by score is that of merges in the order of their results' scores. */
function sentencePiece(
  tokens: readonly string[],
  scores: readonly number[] | undefined,
  metadata: GgufMetadata,
  refuse: (what: string) => never,
): Record<string, unknown> {
  if (!scores) return refuse('The tokenizer has no scores');
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { left: string; right: string; score: number; id: number }[] = [];
  tokens.forEach((token, id) => {
    const characters = Array.from(token);
    for (let cut = 1; cut < characters.length; cut++) {
      const left = characters.slice(0, cut).join('');
      const right = characters.slice(cut).join('');
      if (ids.has(left) && ids.has(right)) merges.push({ left, right, score: scores[id] ?? 0, id });
    }
  });
  merges.sort((a, b) => b.score - a.score || a.id - b.id || b.left.length - a.left.length);
  const unknown = metadata.get('tokenizer.ggml.unknown_token_id');
  const prefix = metadata.get('tokenizer.ggml.add_space_prefix') !== false;
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  return {
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, spaces] } : spaces,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: {
      ...bpe(tokens),
      ...(typeof unknown === 'number' && { unk_token: tokens[unknown] }),
      fuse_unk: true,
      byte_fallback: true,
      merges: merges.map(({ left, right }) => [left, right]),
    },
  };
}

const bpe = (tokens: readonly string[]) => ({
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  vocab: idsOf(tokens),
});
