/** tokenizer.json as the keys llama.cpp reads (conversion/base.py, src/llama-vocab.cpp). */
import type { GgufField } from '../../checkpoint/gguf/serialize';
import type { CheckpointIndex } from '../../checkpoint/types';
import { preTokenizerOf } from '../../evaluation/pre-tokenizers';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import type { FileSystem } from '../../files/types';

type Fields = Map<string, GgufField>;
type Json = Readonly<Record<string, unknown>>;

/** Of tokenizer.ggml.token_type. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER = 4;
const UNUSED = 5;
const BYTE = 6;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The tokenizer's keys, padded to `vocab` tokens with unused ones.
 * @throws LqError 'tokenizer' for a tokenizer that llama.cpp has no form for, or whose pre-tokenizer it does not know.
 */
export async function tokenizerFields(files: FileSystem, index: CheckpointIndex, vocab: number): Promise<Fields> {
  const file = joinPath(index.folder, 'tokenizer.json');
  const refuse = (what: string): never => {
    throw new LqError('tokenizer', `${what}, and a GGUF file carries its tokenizer.`, { file });
  };
  const read = async (name: string): Promise<Json> => {
    const path = joinPath(index.folder, name);
    if ((await files.stat(path)) === undefined) return {};
    const value: unknown = JSON.parse(await files.readText(path));
    return isObject(value) ? value : {};
  };
  if ((await files.stat(file)) === undefined) refuse('The model has no tokenizer.json');
  const definition = await read('tokenizer.json');
  const config = await read('tokenizer_config.json');
  const model = isObject(definition.model) ? definition.model : {};
  if (model.type !== 'BPE' || !isObject(model.vocab) || !Array.isArray(model.merges))
    return refuse(`A tokenizer of the kind ${String(model.type)} has no form in GGUF`);
  const { tokens, types } = listTokens(model, definition, vocab, refuse);
  const merges = (model.merges as unknown[]).map(merge => (Array.isArray(merge) ? merge.join(' ') : String(merge)));
  const fields: Fields = new Map();
  if (model.byte_fallback === true) {
    const score = new Map(merges.map((merge, rank) => [merge.replace(' ', ''), -rank]));
    fields.set('tokenizer.ggml.model', { type: 'string', value: 'llama' });
    fields.set('tokenizer.ggml.tokens', { type: 'strings', value: tokens });
    fields.set('tokenizer.ggml.add_space_prefix', { type: 'bool', value: prependsSpace(definition) });
    fields.set('tokenizer.ggml.scores', { type: 'f32s', value: tokens.map(token => score.get(token) ?? 0) });
  } else {
    const pre = preTokenizerOf(definition);
    if ('unknown' in pre) return refuse(`llama.cpp has no name for the ${pre.unknown}`);
    fields.set('tokenizer.ggml.model', { type: 'string', value: 'gpt2' });
    fields.set('tokenizer.ggml.pre', { type: 'string', value: pre.name });
    fields.set('tokenizer.ggml.tokens', { type: 'strings', value: tokens });
    fields.set('tokenizer.ggml.merges', { type: 'strings', value: merges });
  }
  fields.set('tokenizer.ggml.token_type', { type: 'i32s', value: types });
  const idOf = (token: unknown, fallback: unknown): number | undefined => {
    const content = isObject(token) ? token.content : token;
    const id = typeof content === 'string' ? tokens.indexOf(content) : -1;
    const other: unknown = Array.isArray(fallback) ? fallback[0] : fallback;
    if (id >= 0) return id;
    return typeof other === 'number' && other < vocab ? other : undefined;
  };
  for (const [key, token, id] of [
    ['bos', config.bos_token, index.config?.bos_token_id],
    ['eos', config.eos_token, index.config?.eos_token_id],
    ['unknown', config.unk_token, undefined],
    ['padding', config.pad_token, index.config?.pad_token_id],
  ] as const) {
    const found = idOf(token, id);
    if (found !== undefined) fields.set(`tokenizer.ggml.${key}_token_id`, { type: 'u32', value: found });
  }
  const bos = fields.get('tokenizer.ggml.bos_token_id')?.value;
  const addBos = config.add_bos_token ?? startsWith(definition, typeof bos === 'number' ? tokens[bos] : undefined);
  fields.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: addBos === true });
  const template = joinPath(index.folder, 'chat_template.jinja');
  const chat =
    typeof config.chat_template === 'string'
      ? config.chat_template
      : (await files.stat(template)) && (await files.readText(template));
  if (chat) fields.set('tokenizer.chat_template', { type: 'string', value: chat });
  return fields;
}

/** Whether a space is put before the text, by the normalizer or the pre-tokenizer: Llama 2 does, Gemma does not. */
function prependsSpace({ normalizer, pre_tokenizer: preTokenizer }: Json): boolean {
  const steps = (value: unknown): Json[] => {
    if (!isObject(value)) return [];
    const within = value.normalizers ?? value.pretokenizers;
    return [value, ...(Array.isArray(within) ? within.flatMap(steps) : [])];
  };
  return [...steps(normalizer), ...steps(preTokenizer)].some(step => {
    if (step.type === 'Prepend') return true;
    // Of older files, which have no scheme.
    const scheme = step.prepend_scheme ?? (step.add_prefix_space === false ? 'never' : 'always');
    return step.type === 'Metaspace' && scheme !== 'never';
  });
}

/** Whether the post-processor puts this token before every text, as Llama 3's does, whose configuration does not say so. */
function startsWith({ post_processor: last }: Json, token: string | undefined): boolean {
  if (!isObject(last) || token === undefined) return false;
  const steps = Array.isArray(last.processors) ? (last.processors as unknown[]) : [last];
  return steps.some(step => {
    if (!isObject(step) || step.type !== 'TemplateProcessing' || !Array.isArray(step.single)) return false;
    const first: unknown = step.single[0];
    return isObject(first) && isObject(first.SpecialToken) && first.SpecialToken.id === token;
  });
}

function listTokens(
  model: Json,
  definition: Json,
  vocab: number,
  refuse: (what: string) => never,
): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: vocab }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => UNUSED);
  const place = (id: unknown, token: string, type: number): void => {
    if (typeof id !== 'number' || id < 0 || id >= vocab)
      return refuse(`The token ${JSON.stringify(token)} lies beyond the model's vocabulary of ${vocab}`);
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(model.vocab as Json))
    place(id, token, model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(token) ? BYTE : NORMAL);
  for (const added of Array.isArray(definition.added_tokens) ? (definition.added_tokens as unknown[]) : []) {
    if (!isObject(added) || typeof added.content !== 'string') continue;
    const unknown = added.content === model.unk_token && model.byte_fallback === true;
    place(added.id, added.content, unknown ? UNKNOWN : added.special === true ? CONTROL : USER);
  }
  return { tokens, types };
}
