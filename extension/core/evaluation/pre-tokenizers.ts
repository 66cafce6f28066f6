/**
 * Pre-tokenizers of byte-level BPE by the names llama.cpp has for them (src/llama-vocab.cpp): each is a list of regular
 * expressions that cut the pieces of the one before, and whether a piece that is a token is taken whole. A tokenizer.json is
 * recognised by the expressions its steps stand for.
 */

interface PreTokenizer {
  /** The first is written; all are read. */
  readonly names: readonly string[];
  readonly steps: readonly string[];
  /** Pieces that are tokens are not made of merges. */
  readonly whole?: true;
  /** Composes characters before, which llama.cpp leaves to whoever has the text. */
  readonly composes?: true;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const words = (numbers: string, letters = String.raw`\p{L}`, ends = String.raw`\s+(?!\S)|\s+`): string =>
  String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?${letters}+|${numbers}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|${ends}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const cased = (contractions: string, numbers: string): string =>
  String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${contractions}|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${contractions}|${numbers}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** Longer runs of spaces in tokens of their own (Jais 2). */
const CASCADE = String.raw`${[512, 256, 128, 64, 32, 16, 8, 4].map(n => String.raw`\s{${n}}(?!\S)|`).join('')}\s{1,2}(?!\S)|\s{1}`;
const ONE_DIGIT = String.raw`\p{N}`;
const THREE_DIGITS = String.raw`\p{N}{1,3}`;
/** Of BLOOM; the parenthesis and the bar are in the class. */
const NO_PUNCTUATION = String.raw` ?[^(\s|.,!?…。，、।۔،)]+`;
const HAN = '[一-龥ࠀ-一가-퟿]+';
/** A run of punctuation, which tokenizers have a step of its own for. */
const PUNCTUATION = 'punctuation';

const PRE_TOKENIZERS: readonly PreTokenizer[] = [
  {
    names: [
      ...['gpt-2', 'phi-2', 'olmo', 'mpt', 'jais', 'trillion', 'exaone4', 'modern-bert', 'mellum', 'gigachat'],
      ...['a.x-4.0', 'jina-es', 'jina-de', 'jina-v2-es', 'jina-v2-de'],
    ],
    steps: [GPT2],
  },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'],
    steps: [words(THREE_DIGITS)],
    whole: true,
  },
  { names: ['smaug-bpe', 'dbrx', 'glm4', 'chatglm-bpe'], steps: [words(THREE_DIGITS)] },
  {
    names: ['qwen2', 'stablelm2', 'deepseek-r1-qwen', 'megrez', 'hunyuan', 'grok-2', 'solar-open', 'kormo'],
    steps: [words(ONE_DIGIT)],
    composes: true,
  },
  {
    names: ['qwen35'],
    steps: [
      String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
    composes: true,
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'],
    steps: [ONE_DIGIT, GPT2],
  },
  { names: ['gpt-4o', 'llama4', 'kanana2'], steps: [cased(`${CONTRACTIONS}?`, THREE_DIGITS)] },
  { names: ['tekken'], steps: [cased('', ONE_DIGIT)], whole: true },
  {
    names: ['deepseek-v3', 'hunyuan-dense', 'joyai-llm'],
    steps: [
      THREE_DIGITS,
      '[一-龥぀-ゟ゠-ヿ]+',
      String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${'`'}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  {
    names: ['deepseek-coder'],
    steps: [String.raw`[\r\n]`, String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, HAN, ONE_DIGIT],
  },
  { names: ['falcon'], steps: [PUNCTUATION, GPT2, '[0-9][0-9][0-9]'] },
  { names: ['bloom', 'poro-chat', 'gpt3-finnish'], steps: [NO_PUNCTUATION] },
  { names: ['viking'], steps: [NO_PUNCTUATION, ONE_DIGIT] },
  { names: ['jais-2'], steps: [words(THREE_DIGITS, undefined, CASCADE)] },
  {
    names: ['seed-coder'],
    steps: [
      String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  { names: ['superbpe'], steps: [String.raw`\p{N}+`, String.raw`(?=(\d{3})+(?!\d))`] },
];

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Spellings of the same expression: what stands in the second place is matched by both. */
const SPELLINGS: readonly (readonly [string, string])[] = [
  ['\r', String.raw`\r`],
  ['\n', String.raw`\n`],
  // Exclusive alternatives, whichever way they are written.
  ["(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS],
  ["'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS],
  // Nothing that follows could take back what these took.
  ['?+', '?'],
  ['++', '+'],
  // Spaces are greedy, so the last end of a line is reached either way.
  [String.raw`|\s*[\r\n]|`, String.raw`|\s*[\r\n]+|`],
];
const spelled = (regex: string): string =>
  SPELLINGS.reduce((text, [other, usual]) => text.replaceAll(other, usual), regex);

/** What the steps of a pre-tokenizer stand for, or the name of one that none of those above has. */
function stepsOf(value: unknown): readonly string[] | { readonly unknown: string } {
  if (!isObject(value)) return { unknown: 'none' };
  const unknown = { unknown: String(value.type) };
  switch (value.type) {
    case 'Sequence': {
      const all: string[] = [];
      for (const step of Array.isArray(value.pretokenizers) ? (value.pretokenizers as unknown[]) : []) {
        const found = stepsOf(step);
        if ('unknown' in found) return found;
        all.push(...found);
      }
      return all;
    }
    case 'ByteLevel':
      if (value.add_prefix_space === true) return { unknown: 'ByteLevel with a space before the text' };
      return value.use_regex === false ? [] : [GPT2];
    case 'Digits':
      return [value.individual_digits === true ? ONE_DIGIT : String.raw`\p{N}+`];
    case 'Punctuation':
      return value.behavior === 'Contiguous' ? [PUNCTUATION] : unknown;
    case 'Split': {
      const regex = isObject(value.pattern) ? value.pattern.Regex : undefined;
      const cuts =
        value.behavior === 'Isolated' ? value.invert !== true : value.behavior === 'Removed' && value.invert === true;
      return typeof regex === 'string' && cuts ? [spelled(regex)] : unknown;
    }
    default:
      return unknown;
  }
}

/** Numbers are apart already behind GPT-2's expression. */
const needed = (steps: readonly string[]): readonly string[] =>
  steps.filter((step, i) => !(step === String.raw`\p{N}+` && steps.slice(0, i).includes(GPT2)));

/** Normalizers that change nothing but how characters are composed. */
function composesAlone(normalizer: unknown): boolean {
  if (normalizer === null || normalizer === undefined) return true;
  if (!isObject(normalizer)) return false;
  if (normalizer.type === 'Sequence' && Array.isArray(normalizer.normalizers))
    return (normalizer.normalizers as unknown[]).every(composesAlone);
  return normalizer.type === 'NFC';
}

/** The name llama.cpp has for the pre-tokenizer of a tokenizer.json, or what it has no name for. */
export function preTokenizerOf(definition: Json): { readonly name: string } | { readonly unknown: string } {
  const { normalizer, pre_tokenizer: own, model } = definition;
  if (!composesAlone(normalizer))
    return { unknown: `normalizer ${String(isObject(normalizer) ? normalizer.type : normalizer)}` };
  const steps = stepsOf(own);
  if ('unknown' in steps) return { unknown: `pre-tokenizer ${steps.unknown}` };
  const key = JSON.stringify(needed(steps));
  const alike = PRE_TOKENIZERS.filter(known => JSON.stringify(known.steps) === key);
  const whole = isObject(model) && model.ignore_merges === true;
  const found = alike.find(known => (known.whole ?? false) === whole);
  if (found) return { name: found.names[0]! };
  const what = alike.length > 0 ? `${whole ? 'with' : 'without'} ignore_merges` : JSON.stringify(steps);
  return { unknown: `pre-tokenizer ${what}` };
}

/** The pre-tokenizer of a name as a tokenizer.json has it, or undefined for a name that is not known. */
export function preTokenizerNamed(
  name: string,
): { readonly normalizer: unknown; readonly preTokenizer: unknown; readonly ignoreMerges: boolean } | undefined {
  const found = PRE_TOKENIZERS.find(({ names }) => names.includes(name));
  if (!found) return undefined;
  const cuts = found.steps.map(step =>
    step === PUNCTUATION
      ? { type: 'Punctuation', behavior: 'Contiguous' }
      : { type: 'Split', pattern: { Regex: step }, behavior: 'Isolated', invert: false },
  );
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    normalizer: found.composes ? { type: 'NFC' } : null,
    preTokenizer: { type: 'Sequence', pretokenizers: [...cuts, bytes] },
    ignoreMerges: found.whole ?? false,
  };
}
