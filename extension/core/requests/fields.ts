/** Fields that several requests share. */
import * as v from 'valibot';
import { LqError } from '../errors';
import type { QuantConfig } from '../native';
import type { Budget, PlanOverride } from '../options/budget';
import { findMethod, METHOD_IDS } from '../options/methods/registry';
import { DEFAULTS } from './defaults';
import {
  asIs,
  choiceFlag,
  listFlag,
  numberFlag,
  numbersFlag,
  path,
  pathFlag,
  switchFlag,
  textFlag,
  whole,
  type Field,
  type Spoken,
} from './field';

const field = <S extends v.GenericSchema>(schema: S, spoken: Spoken<NonNullable<v.InferOutput<S>>>): Field<S> => ({
  schema,
  spoken: spoken,
});

/** Settings that every request that computes understands. */
export const settings = {
  device: field(
    v.exactOptional(v.string()),
    textFlag('device', 'auto|cpu|cuda|cuda:N', 'where to compute (default: auto)'),
  ),
  threads: field(v.exactOptional(whole(0)), numberFlag('threads', 'N', 'worker threads (default: all cores)')),
  cache: field(
    v.exactOptional(path),
    pathFlag('cache', 'DIR', 'where reusable results are kept (default: $LQ_STUDIO_CACHE or ~/.cache/lq-studio)'),
  ),
  seed: field(v.exactOptional(whole(0)), numberFlag('seed', 'N', 'seed of everything random (default: 0)')),
};

/** The checkpoint a request is about. */
export const model = { model: { schema: path, positional: 'MODEL' } } satisfies Record<string, Field>;

/** Target selection, shared by everything that works on matrices. */
export const selection = {
  include: field(
    v.exactOptional(v.array(v.string())),
    listFlag('include', 'GLOB', 'compress only matrices whose name matches (repeatable)', asIs),
  ),
  exclude: field(
    v.exactOptional(v.array(v.string())),
    listFlag('exclude', 'GLOB', 'leave matching matrices alone (repeatable)', asIs),
  ),
};

/** Whether the embedding and the head are compressed too. */
export const embeddings = field(
  v.exactOptional(v.boolean()),
  switchFlag('embeddings', 'compress the embedding and the head too; GGUF files always are'),
);

export const outFile = { out: field(path, pathFlag('out', 'FILE', 'file to write')) };
export const outFolder = {
  out: field(path, pathFlag('out', 'DIR', 'folder to write')),
  overwrite: field(v.exactOptional(v.boolean()), switchFlag('overwrite', 'replace an existing output folder')),
};

export const samples = field(
  v.exactOptional(whole(1)),
  numberFlag('samples', 'N', `sequences of calibration text (default: ${DEFAULTS.samples})`),
);
export const context = field(
  v.exactOptional(whole(2)),
  numberFlag('context', 'N', `tokens a window for calibration and evaluation (default: ${DEFAULTS.context})`),
);
const PRECISIONS = ['auto', 'fp32', 'bf16'] as const;
export const precision = field(
  v.exactOptional(v.picklist(PRECISIONS)),
  choiceFlag(
    'precision',
    PRECISIONS,
    'products of language models on the CPU: fp32, or pairs of bf16 terms with sums in fp32 (default: auto, bf16 where there is AMX)',
  ),
);
export type PrecisionSetting = (typeof PRECISIONS)[number];
export const windows = field(
  v.exactOptional(whole(1)),
  numberFlag('windows', 'N', 'evaluate the first N windows only'),
);

const SCALES = ['sqrt-of-means', 'means-of-sqrt'] as const;
const FACTORS = ['nf8', 'bf16', 'fp32'] as const;

/** A name that is no method is refused with what it lacks. */
function knownMethod({ dataset, addIssue }: v.RawCheckContext<string>): void {
  if (!dataset.typed) return;
  try {
    findMethod(dataset.value);
  } catch (error) {
    addIssue({ message: LqError.from(error).message });
  }
}

const METRICS = ['plain', 'fisher', 'kfac'] as const;
const STATES = [12, 14, 16] as const;

/** What a matrix may become, and what its errors are weighed with. */
export const method = {
  method: field(
    v.exactOptional(v.pipe(v.string(), v.rawCheck(knownMethod))),
    textFlag('method', 'NAME', `set of options: ${METHOD_IDS.join(', ')} (default: ${DEFAULTS.method})`),
  ),
  metric: field(
    v.exactOptional(v.picklist(METRICS)),
    choiceFlag('metric', METRICS, 'what errors are weighed with (default: the method’s)'),
  ),
  ranks: field(
    v.exactOptional(v.pipe(v.array(whole(0)), v.nonEmpty('expected at least one rank'))),
    numbersFlag('rank', 'R,…', 'ranks of the low-rank part to choose from (lq-lora: 16; 0 for quantisation alone)'),
  ),
  grid: field(v.exactOptional(v.array(configSchema())), configFlag()),
  states: field(
    v.exactOptional(v.pipe(v.number(), v.values(STATES))),
    numberFlag('states', 'L', 'bits of a trellis state: 12, 14 or 16 (default: 12)'),
  ),
  tailBiting: field(
    v.exactOptional(v.boolean()),
    switchFlag('tail-biting', 'trellis sequences end where they start, and the start is not stored'),
  ),
};

const COSTS = ['measured', 'predicted'] as const;
/** Whether every cost is measured, or predicted first and measured where a plan could use it. */
export const costs = field(
  v.exactOptional(v.picklist(COSTS)),
  choiceFlag(
    'costs',
    COSTS,
    'measure every cost, or predict those that can be (compress measures what its plan could use; default: measured for sweep, predicted for compress)',
  ),
);

export const secondPass = field(v.exactOptional(v.boolean()), {
  flags: {
    'second-pass': { description: 'encode in layer order (default with a calibration text)' },
    'no-second-pass': { description: 'encode every matrix on the inputs of the original' },
  },
  read(given) {
    const [on, off] = [given['second-pass'] === true, given['no-second-pass'] === true];
    if (on && off) throw new LqError('usage', 'Give one of --second-pass and --no-second-pass.');
    return on ? true : off ? false : undefined;
  },
  words: value => [value ? '--second-pass' : '--no-second-pass'],
});
export const alpha = field(
  v.exactOptional(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  numberFlag('alpha', 'A', 'share of earlier errors that the second pass makes up for, 0 to 1 (default: 0.5)'),
);

const perplexitySchema = v.pipe(v.number(), v.finite());
/** Perplexities measured with plans of the same table: plans and points then predict their own. */
export const measured = {
  schema: v.exactOptional(
    v.strictObject({
      dense: perplexitySchema,
      plans: v.array(v.strictObject({ objective: perplexitySchema, perplexity: perplexitySchema })),
    }),
  ),
};

/** The LQ iteration's settings (method: sections 2 and 3). */
export const iteration = {
  fisher: field(
    v.exactOptional(path),
    pathFlag(
      'fisher',
      'FILE',
      'weigh errors with this file: Fisher information, calibration statistics, or an importance matrix of llama.cpp',
    ),
  ),
  plain: field(v.exactOptional(v.boolean()), switchFlag('plain', 'do not weigh errors')),
  iterations: field(
    v.exactOptional(whole(1)),
    numberFlag('iterations', 'N', `limit of LQ iterations (default: ${DEFAULTS.iterations})`),
  ),
  patience: field(
    v.exactOptional(whole(1)),
    numberFlag(
      'patience',
      'N',
      `iterations without a better one that end the loop (default: ${DEFAULTS.patience}; 1 is the paper’s rule)`,
    ),
  ),
  scales: field(
    v.exactOptional(v.picklist(SCALES)),
    choiceFlag(
      'scales',
      SCALES,
      `row and column scales from Fisher information (default: ${DEFAULTS.scales}, the reference code’s)`,
    ),
  ),
};

export const factors = field(
  v.exactOptional(v.picklist(FACTORS)),
  choiceFlag('factors', FACTORS, `how low-rank factors are stored (default: ${DEFAULTS.factors})`),
);

function configSchema() {
  return v.strictObject({
    b0: whole(1),
    b1: whole(1),
    b2: v.picklist(['bf16', 'fp16', 'fp32']),
    B0: whole(1),
    B1: whole(1),
  });
}

/** `b0,b1,b2,B0,B1` as the paper writes a configuration. */
function configFlag(): Spoken<QuantConfig[]> {
  return listFlag('config', 'b0,b1,b2,B0,B1', 'a configuration to try (repeatable; default: the paper’s 243)', {
    read(text) {
      const [b0, b1, b2, B0, B1, ...more] = text.split(',').map(part => part.trim());
      if (B1 === undefined || more.length > 0)
        throw new LqError('usage', `--config must look like 3,4,bf16,64,256, not "${text}".`);
      return { b0: Number(b0), b1: Number(b1), b2: b2 as QuantConfig['b2'], B0: Number(B0), B1: Number(B1) };
    },
    write: ({ b0, b1, b2, B0, B1 }) => [b0, b1, b2, B0, B1].join(','),
  });
}

// --- Budgets ------------------------------------------------------------------------------------------------------------

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** A size with an optional decimal (GB) or binary (GiB) unit, in bytes. @throws LqError 'usage'. */
function parseSize(text: string, flag = 'size'): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?\s*$/i.exec(text);
  const unit = UNITS[(match?.[2] ?? 'B').toUpperCase()];
  if (match === null || unit === undefined)
    throw new LqError('usage', `--${flag} must look like 1.5GB or 800MiB, not "${text}".`);
  return Math.floor(Number(match[1]) * unit);
}

/** A size in bytes, with a unit. */
export const sizeFlag = (name: string, description: string): Spoken<number> => ({
  flags: { [name]: { value: 'SIZE', description } },
  read(given) {
    const text = given[name];
    return typeof text === 'string' ? parseSize(text, name) : undefined;
  },
  words: bytes => [`--${name}`, `${Math.round(bytes)}`],
});

const BUDGET_FLAGS: Readonly<Record<Budget['kind'], { name: string; value: string; description: string }>> = {
  bytes: {
    name: 'size',
    value: 'SIZE',
    description: 'budget in bytes of all exported files of weights: 1.5GB, 800MiB, …',
  },
  'effective-bits': {
    name: 'effective-bits',
    value: 'B',
    description: 'budget in bits per target weight, everything stored included',
  },
  bits: { name: 'bits', value: 'B', description: 'budget in bits per target weight, codes and scales (the paper’s)' },
};
const BUDGET_KINDS = Object.keys(BUDGET_FLAGS) as Budget['kind'][];

/** Exactly one of the ways to say how large the result may be. */
const budgetFlags: Spoken<Budget> = {
  flags: Object.fromEntries(
    BUDGET_KINDS.map(kind => {
      const { name, value, description } = BUDGET_FLAGS[kind];
      return [name, { value, description }];
    }),
  ),
  read(given, resolve) {
    const said = BUDGET_KINDS.flatMap(kind => {
      const { name } = BUDGET_FLAGS[kind];
      const text = given[name];
      if (typeof text !== 'string') return [];
      const value = kind === 'bytes' ? parseSize(text) : numberFlag(name, 'B', '').read(given, resolve)!;
      return [{ kind, value }];
    });
    if (said.length > 1) throw new LqError('usage', 'Give exactly one of --bits, --effective-bits and --size.');
    return said[0];
  },
  words: ({ kind, value }) => [
    `--${BUDGET_FLAGS[kind].name}`,
    kind === 'bytes' ? `${Math.round(value)}` : `${+value.toFixed(6)}`,
  ],
};

/** Parts of the calibration text whose statistics are computed each for itself and added up in their order. */
export const parts = field(
  v.exactOptional(whole(1)),
  numberFlag(
    'parts',
    'N',
    'compute statistics in N parts of the windows, which workers share, and add them up (default: as many as devices)',
  ),
);

/** Bytes of statistics that are held at a time. */
export const memory = field(
  v.exactOptional(v.pipe(v.number(), v.minValue(1, 'expected a size'))),
  sizeFlag(
    'memory',
    'hold at most so much of the statistics at a time, in more passes over the text (default: half of the free)',
  ),
);

export const splitSize = field(
  v.exactOptional(v.pipe(v.number(), v.minValue(1, 'expected a size'))),
  sizeFlag('split-size', 'GGUF: several files, each of at most this: 4GB, 500MiB, …'),
);

export const budgetSchema = v.strictObject({
  kind: v.picklist(['bits', 'effective-bits', 'bytes']),
  value: v.pipe(v.number(), v.finite()),
});
export const budget = field(budgetSchema, budgetFlags);

const overrideSchema = v.strictObject({
  match: v.string(),
  minBits: v.exactOptional(v.number()),
  maxBits: v.exactOptional(v.number()),
});

/** `GLOB=MIN:MAX`, either bound empty: the matrices a glob selects get codes of at least and at most so many bits. */
export const overrides = field(
  v.exactOptional(v.array(overrideSchema)),
  listFlag<PlanOverride>(
    'override',
    'GLOB=MIN:MAX',
    'bits of a code that matching matrices get at least and at most; either may be empty (repeatable)',
    {
      read(text) {
        const match = /^(.+)=(\d*\.?\d*):(\d*\.?\d*)$/.exec(text);
        if (match === null || (match[2] === '' && match[3] === ''))
          throw new LqError('usage', `--override must look like '*.down_proj.weight=4:' or '*=2:3', not "${text}".`);
        const [, glob, least, most] = match as unknown as [string, string, string, string];
        return { match: glob, ...(least && { minBits: Number(least) }), ...(most && { maxBits: Number(most) }) };
      },
      write: ({ match, minBits, maxBits }) => `${match}=${minBits ?? ''}:${maxBits ?? ''}`,
    },
  ),
);
