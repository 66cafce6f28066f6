/**
 * What programs were seen to load: each rule was read in the source of the named version, most were run too. What was not
 * read is `unknown`, never a yes.
 */
import type { StorageFormat } from '../../checkpoint/types';
import { ROPE_FREQS } from '../../checkpoint/gguf/rope';
import { ggufTypeNamed } from '../../checkpoint/gguf/types';
import { EXLLAMAV3, LLAMA_CPP, MLX_LM, TRANSFORMERS, TRANSFORMERS_GGUF, VLLM } from './architectures';
import type { StoredModel, StoredWeight } from './stored';

/** What speaks against a program, or has to be known: the worst of them is the verdict. */
export interface Remark {
  readonly weight: 'no' | 'unknown' | 'note';
  readonly text: string;
}

type Rule = (model: StoredModel, weights: readonly StoredWeight[]) => readonly (Remark | undefined)[];

export interface Program {
  readonly label: string;
  /** The version whose source the rules were read in. */
  readonly version: string;
  /** By how weights are stored; a GGUF file is `gguf` whatever is in it, a folder with no packed weight `dense`. */
  readonly rules: Partial<Record<StorageFormat, Rule>>;
  /** Why it loads no other format; undefined: that was not read. */
  readonly others?: string;
  /** Formats beside which it is listed; undefined: all. */
  readonly only?: readonly StorageFormat[];
}

const no = (text: string): Remark => ({ weight: 'no', text });
const unknown = (text: string): Remark => ({ weight: 'unknown', text });
const note = (text: string): Remark => ({ weight: 'note', text });
const always =
  (...remarks: Remark[]): Rule =>
  () =>
    remarks;

/** Of adapters: those in GGUF are llama.cpp's. */
const notInGguf =
  (...remarks: Remark[]): Rule =>
  ({ container }) =>
    container === 'gguf' ? [no('it reads no adapters in GGUF')] : remarks;

const among = (known: ReadonlySet<string>, otherwise: (text: string) => Remark, { architecture }: StoredModel) => {
  if (architecture === undefined) return unknown('nothing says which architecture it is');
  return known.has(architecture) ? undefined : otherwise(`architecture ${architecture}`);
};
const notAmong = (what: string): Remark => unknown(`whether it knows the ${what} was not read`);

/** How many there are and the first of them, where there is one. */
const first = (weights: readonly StoredWeight[]): string =>
  weights.length === 1 ? weights[0]!.name : `${weights[0]!.name} and ${weights.length - 1} more`;

/** Weights of integers whose width or group is none of these. A group of 0: one scale a row. */
function odd(
  weights: readonly StoredWeight[],
  bits: readonly number[],
  groups?: readonly number[],
): Remark | undefined {
  const wrong = weights.filter(({ dtype }) => {
    const [, width, , group] = /^INT(\d+)( g(\d+))?/.exec(dtype) ?? [];
    if (width === undefined) return true;
    return !bits.includes(Number(width)) || (groups !== undefined && !groups.includes(Number(group ?? 0)));
  });
  return wrong.length === 0 ? undefined : no(`${first(wrong)}: no width or group of its own (${wrong[0]!.dtype})`);
}

const FUSED: readonly ReadonlySet<string>[] = [new Set(['q', 'k', 'v']), new Set(['gate', 'up'])];

/** Matrices that are joined into one when the model is loaded and are stored in different ways. */
function fusedConflict(weights: readonly StoredWeight[]): Remark | undefined {
  for (const roles of FUSED) {
    const modules = new Map<string, StoredWeight>();
    for (const weight of weights) {
      if (!roles.has(weight.role) || weight.shape.length !== 2) continue;
      const module = weight.name.replace(/\.[^.]+\.weight$/, '');
      const other = modules.get(module);
      if (other === undefined) modules.set(module, weight);
      else if (other.dtype !== weight.dtype)
        return no(`${other.name} is ${other.dtype} and ${weight.name} ${weight.dtype}, and it joins them into one`);
    }
  }
  return undefined;
}

function zeroPoints(weights: readonly StoredWeight[]): Remark | undefined {
  const found = weights.filter(({ asymmetric }) => asymmetric);
  return found.length === 0 ? undefined : no(`${first(found)}: zero points, which it allocates unpacked`);
}

/** Types that the gguf package has no values for. */
function unreadableTypes(weights: readonly StoredWeight[]): Remark | undefined {
  const found = weights.filter(({ dtype }) => ggufTypeNamed(dtype)?.type.readable === false);
  return found.length === 0 ? undefined : no(`${first(found)}: type ${found[0]!.dtype}`);
}

const noTokenizer = ({ tokenizer }: StoredModel): Remark | undefined =>
  tokenizer ? undefined : no('the file has no tokenizer');

/** Architectures that need nothing but what transformers reads of the keys (integrations/ggml.py). */
const BY_SIZES: ReadonlySet<string> = new Set(['llama', 'qwen2', 'falcon']);

/** What of a GGUF file transformers does not read: with the configuration of the original it has no need to. */
function readsOtherwise({ architecture = '', usualHeads, keys, weights }: StoredModel): Remark | undefined {
  const missed = [
    ...(BY_SIZES.has(architecture) ? [] : [`all that sets ${architecture} apart`]),
    ...(usualHeads || architecture === 'llama' ? [] : ['the size of its heads']),
    ...(keys.has('rope.scaling.type') || weights.some(({ name }) => name === ROPE_FREQS) ? ['its rotary scaling'] : []),
    ...(architecture === 'llama' && weights.some(({ name }) => name.endsWith('q_proj.bias')) ? ['its biases'] : []),
  ];
  return missed.length === 0
    ? undefined
    : note(`of the file it does not read ${missed.join(', ')}: pass the configuration of the original as config=`);
}

const transformers: Program = {
  label: 'transformers',
  version: '5.24.0',
  rules: {
    dense: model => [among(TRANSFORMERS, notAmong, model)],
    gguf: (model, weights) => [
      among(TRANSFORMERS_GGUF, what => no(`it reads no GGUF of ${what}`), model),
      unreadableTypes(weights),
      model.parts > 1 ? no(`it reads one file, and these are ${model.parts}`) : undefined,
      model.architecture === 'llama' && model.keys.has('expert_count')
        ? no('it reads no experts of a GGUF file of llama')
        : undefined,
      readsOtherwise(model),
      note('with the package gguf; weights are dequantised when they are loaded'),
    ],
    'compressed-tensors': (model, weights) => [
      among(TRANSFORMERS, notAmong, model),
      zeroPoints(weights),
      odd(weights, [2, 3, 4, 5, 6, 7, 8]),
      note('with the package compressed-tensors'),
    ],
    bitsandbytes: (model, weights) => [
      among(TRANSFORMERS, notAmong, model),
      weights.some(({ shape: [rows = 0] }) => rows % 32 !== 0)
        ? note('not on processors with AVX512-BF16: 32 does not divide the rows of every matrix')
        : undefined,
      note('with the package bitsandbytes; 0.50 was read'),
    ],
    lora: notInGguf(note('with peft, on the model that the adapter was made for')),
    mlx: always(no('it reads the layout of MLX on Apple’s GPUs alone')),
    exl3: always(no('it has no loader for EXL3')),
    lq: always(no('it has no loader for this layout: export it as dense')),
  },
};

const vllm: Program = {
  label: 'vLLM',
  version: '0.33.0',
  rules: {
    dense: model => [among(VLLM, notAmong, model)],
    'compressed-tensors': (model, weights) => [
      among(VLLM, notAmong, model),
      odd(weights, [2, 3, 4, 5, 6, 7, 8]),
      fusedConflict(model.weights),
    ],
    gptq: (model, weights) => [among(VLLM, notAmong, model), odd(weights, [4, 8]), fusedConflict(model.weights)],
    gguf: always(no('GGUF left it for a plugin, vllm-gguf-plugin')),
    bitsandbytes: always(no('bitsandbytes left it for a plugin')),
    aqlm: always(no('AQLM was taken out')),
    mlx: always(no('it has no loader for MLX')),
    exl3: always(no('only plugins load EXL3')),
    lq: always(no('it has no loader for this layout: export it as dense')),
    lora: notInGguf(note('with --enable-lora, and --max-lora-rank at least the adapter’s')),
  },
};

const llamaCpp: Program = {
  label: 'llama.cpp (Ollama and LM Studio have it inside)',
  version: '0c1e57098',
  others: 'it reads GGUF alone',
  rules: {
    gguf: (model, weights) => [
      among(LLAMA_CPP, what => no(`it does not know ${what}`), model),
      noTokenizer(model),
      weights.length === 0 ? no('the file has no weights') : undefined,
    ],
    dense: always(no('it reads GGUF alone: export it as GGUF')),
    lora: ({ container }) => [
      container === 'gguf'
        ? note('with --lora, on the GGUF file that the adapter was made for')
        : no('it reads adapters in GGUF alone: export it as gguf-lora'),
    ],
  },
};

const mlxLm: Program = {
  label: 'mlx-lm',
  version: '0.32.2',
  rules: {
    dense: model => [among(MLX_LM, notAmong, model)],
    mlx: (model, weights) => [
      among(MLX_LM, notAmong, model),
      odd(
        weights.filter(({ dtype }) => dtype.startsWith('INT')),
        [2, 3, 4, 5, 6, 8],
        [32, 64, 128],
      ),
    ],
    gguf: always(no('it loads no GGUF')),
    bitsandbytes: always(no('it has no loader for bitsandbytes')),
    exl3: always(no('it has no loader for EXL3')),
    lq: always(no('it has no loader for this layout: export it as dense')),
    lora: always(no('its adapters have a layout of their own')),
  },
};

const peft: Program = {
  label: 'peft',
  version: '0.21.2',
  others: 'it reads adapters alone',
  only: ['lora'],
  rules: { lora: notInGguf() },
};

/** EXL3 is of blocks of 128 inputs and outputs. */
const oddSides = (weights: readonly StoredWeight[]): Remark | undefined => {
  const found = weights.filter(({ shape }) => shape.some(size => size % 128 !== 0));
  return found.length === 0 ? undefined : no(`${first(found)}: 128 does not divide both sides`);
};

const exllamaV3: Program = {
  label: 'exllamav3 (TabbyAPI has it inside)',
  version: '1.4.1',
  only: ['exl3'],
  rules: {
    exl3: (model, weights) => [
      among(EXLLAMAV3, what => no(`it does not know ${what}`), model),
      oddSides(weights),
      note('on a GPU of NVIDIA or AMD alone'),
    ],
  },
};

const gptqModel: Program = {
  label: 'GPTQModel',
  version: '7.7.0',
  only: ['exl3', 'gptq'],
  rules: {
    exl3: (model, weights) => [
      among(TRANSFORMERS, notAmong, model),
      oddSides(weights),
      note('on a CPU with backend=BACKEND.EXL3_TORCH'),
    ],
    gptq: model => [among(TRANSFORMERS, notAmong, model)],
  },
};

const DECODED: ReadonlySet<StorageFormat> = new Set<StorageFormat>(['dense', 'lq', 'gguf']);

/** What this program computes with; it opens every one of them to look at. */
const lqStudio: Program = {
  label: 'LQ Studio',
  version: 'this one',
  rules: {
    ...Object.fromEntries([...DECODED].map(format => [format, always()])),
    'compressed-tensors': (_, weights) => [
      weights.some(({ asymmetric }) => asymmetric) ? no('zero points are shown and not computed with') : undefined,
    ],
    exl3: always(note('computed with where scales are numbers, not packed signs')),
    bitsandbytes: always(note('NF4 is computed with')),
    mlx: always(note('computed with where biases are those of symmetric integers, as it writes them')),
  },
};

/** In the order they are shown. */
export const programs: readonly Program[] = [llamaCpp, transformers, vllm, mlxLm, exllamaV3, gptqModel, peft, lqStudio];
