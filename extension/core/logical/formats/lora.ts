import { elementCount } from '../../dtypes';
import type { TensorInfo } from '../../checkpoint/types';
import { jsonDescriptor, numericDescriptor } from '../../checkpoint/formats/descriptors';
import { matchesWhole } from './patterns';
import { asCount, asRecord, partsOf, type Format, type FormatSource, type PackedWeight } from './recogniser';

/** How the two factors lie: A [r, in] and B [out, r]; A [in, r] and B [r, out]; or those of an embedding, the first turned. */
type Layout = 'rows' | 'columns' | 'embedding';

/** One tool's names: `a` finds the first factor and the module, `b` names the second, `more` what may be beside them. */
interface Naming {
  readonly a: RegExp;
  readonly b: (module: string, infix: string) => string;
  readonly more: readonly string[];
  readonly layout: Layout;
}

const PEFT_MORE = [
  '.lora_magnitude_vector',
  '.lora_magnitude_vector.weight',
  '.lora_E',
  '.ranknum',
  '.lora_B.bias',
  '.alpha',
];

/** PEFT's modules, AdaLoRA's and embeddings, kohya's, those of diffusers, and MLX's. The infix is PEFT's adapter name. */
const NAMINGS: readonly Naming[] = [
  {
    a: /^(.+)\.lora_A((?:\.[^.]+)?)\.weight$/,
    b: (module, infix) => `${module}.lora_B${infix}.weight`,
    more: PEFT_MORE,
    layout: 'rows',
  },
  {
    a: /^(.+)\.lora_A((?:\.[^.]+)?)$/,
    b: (module, infix) => `${module}.lora_B${infix}`,
    more: PEFT_MORE,
    layout: 'rows',
  },
  {
    a: /^(.+)\.lora_embedding_A((?:\.[^.]+)?)$/,
    b: (module, infix) => `${module}.lora_embedding_B${infix}`,
    more: PEFT_MORE,
    layout: 'embedding',
  },
  {
    a: /^(.+)\.lora_down()\.weight$/,
    b: module => `${module}.lora_up.weight`,
    more: ['.lora_mid.weight', '.dora_scale', '.alpha', '.lora_up.bias', '.scale'],
    layout: 'rows',
  },
  { a: /^(.+)\.lora_a()$/, b: module => `${module}.lora_b`, more: ['.m'], layout: 'columns' },
  {
    a: /^(.+?)([._]lora[^.]*)\.down\.weight$/,
    b: (module, infix) => `${module}${infix}.up.weight`,
    more: ['.alpha'],
    layout: 'rows',
  },
];
const PEFT_PREFIX = 'base_model.model.';

/** A pair of low-rank factors, shown as the update it is: the shape it adds to, and the parameters of the factors. */
export const lora: Format = {
  endings: [],
  recognise(tensor, source) {
    if (!tensor.name.includes('lora')) return undefined;
    for (const naming of NAMINGS) {
      const [, stored, infix = ''] = naming.a.exec(tensor.name) ?? [];
      const b = stored === undefined ? undefined : source.byName.get(naming.b(stored, infix));
      if (stored === undefined || !b) continue;
      return joined(tensor, b, stored, infix, naming, source);
    }
    return undefined;
  },
};

function joined(
  a: TensorInfo,
  b: TensorInfo,
  stored: string,
  infix: string,
  { more, layout }: Naming,
  source: FormatSource,
): PackedWeight | undefined {
  const module = stored.startsWith(PEFT_PREFIX) ? stored.slice(PEFT_PREFIX.length) : stored;
  const experts = layout === 'rows' ? expertCount(a, module, source) : 1;
  const shape = updateShape(a.shape, b.shape, layout, experts);
  if (!shape) return undefined;
  const beside = [
    ...partsOf(source, stored, more),
    ...(infix.startsWith('.')
      ? more.flatMap(name => partsOf(source, stored, [`${name}${infix}`, `${name}${infix}.weight`]))
      : []),
    ...(infix.includes('lora') ? partsOf(source, `${stored}${infix}`, more) : []),
  ];
  const rank = rankOf(a.shape, layout) / experts;
  const parts = [a, b, ...beside];
  const has = (what: string): boolean => beside.some(({ name }) => name.slice(stored.length).includes(what));
  const kind = has('lora_E') ? 'AdaLoRA' : has('magnitude') || has('dora_scale') || has('.m') ? 'DoRA' : 'LoRA';
  const alpha = loraAlpha(stored, module, source);
  const scale = layout === 'columns' ? asNumber(asRecord(source.adapterConfig?.lora_parameters)?.scale) : undefined;
  const factor = scale !== undefined ? ` ×${round(scale)}` : alpha === undefined ? '' : ` α${round(alpha)}`;
  // Two updates of one module, of different infixes, keep their own names.
  const suffix = infix.startsWith('.') && !infix.includes('lora') ? infix : /\d/.test(infix) ? infix : '';
  return {
    name: `${module}${suffix}.weight`,
    shape,
    dtype: `${kind} r${rank}${experts > 1 ? ` in ${experts} experts` : ''}${factor}`,
    format: 'lora',
    rank,
    parameters: parts.reduce((sum, { name, shape: own }) => (isScalar(name) ? sum : sum + elementCount(own)), 0),
    parts,
  };
}

const isScalar = (name: string): boolean => /\.(?:alpha|scale|ranknum)(?:\.[^.]+)?$/.test(name);
const round = (value: number): number => Number(value.toPrecision(4));

function rankOf(a: readonly number[], layout: Layout): number {
  return layout !== 'columns' ? a[0]! : a.length === 3 ? a[1]! : a[1]!;
}

/** The shape of B A, as the weight it is added to has it; undefined when the factors do not fit. */
function updateShape(
  a: readonly number[],
  b: readonly number[],
  layout: Layout,
  experts: number,
): readonly number[] | undefined {
  if (a.length < 2 || b.length < 2) return undefined;
  if (layout === 'columns') {
    // MLX stacks the factors of experts as [experts, r, in] and [experts, out, r].
    if (a.length === 3) return b.length === 3 && a[1] === b[2] && a[0] === b[0] ? [a[0]!, b[1]!, a[2]!] : undefined;
    return a.length === 2 && b.length === 2 && a[1] === b[0] ? [b[1]!, a[0]!] : undefined;
  }
  if (a[0] !== b[1]) return undefined;
  if (layout === 'embedding') return [a[1]!, b[0]!];
  return experts > 1 ? [experts, b[0]!, a[1]!] : [b[0]!, ...a.slice(1)];
}

/** PEFT adapts a stack of experts (`target_parameters`) with one pair whose rank is that of all experts together. */
function expertCount(a: TensorInfo, module: string, source: FormatSource): number {
  const parameters = source.adapterConfig?.target_parameters;
  if (!Array.isArray(parameters)) return 1;
  const owner = module.replaceAll('.base_layer', '');
  const adapted = parameters.some(parameter => {
    const parent = typeof parameter === 'string' ? parameter.split('.').slice(0, -1).join('.') : '';
    return parent !== '' && (owner === parent || owner.endsWith(`.${parent}`));
  });
  const rank = asCount(patterned('rank_pattern', module, source)) ?? asCount(source.adapterConfig?.r);
  const count = rank === undefined ? 1 : a.shape[0]! / rank;
  return adapted && Number.isInteger(count) ? count : 1;
}

/** The tensor beside the factors, else adapter_config.json with its patterns, else what the file's metadata says. */
function loraAlpha(stored: string, module: string, source: FormatSource): number | undefined {
  const own = source.byName.get(`${stored}.alpha`);
  const stated = own && numericDescriptor(source.descriptors.get(own.name), own.dtype)?.[0];
  if (stated !== undefined) return stated;
  const special = patterned('alpha_pattern', module, source);
  return asNumber(special) ?? asNumber(source.adapterConfig?.lora_alpha) ?? metadataAlpha(source);
}

/** The value of the first key that fits the module; keys are regular expressions for the end of its name, as PEFT reads them. */
function patterned(pattern: 'alpha_pattern' | 'rank_pattern', module: string, source: FormatSource): unknown {
  const entries = Object.entries(asRecord(source.adapterConfig?.[pattern]) ?? {});
  return entries.find(([key]) => module === key || matchesWhole(`(?:.*\\.)?(?:${key})`, module))?.[1];
}

function metadataAlpha(source: FormatSource): number | undefined {
  for (const { metadata } of source.shards) {
    const nested = asRecord(parsed(metadata.lora_adapter_metadata));
    const alpha =
      asNumber(metadata.lora_alpha) ??
      asNumber(metadata.ss_network_alpha) ??
      asNumber(nested?.lora_alpha) ??
      asNumber(metadata.alpha);
    if (alpha !== undefined) return alpha;
  }
  return undefined;
}

function parsed(text: string | undefined): unknown {
  return text === undefined ? undefined : jsonDescriptor(new TextEncoder().encode(text));
}

function asNumber(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

/** What an adapter is, for a summary line. */
export interface AdapterSummary {
  /** Smallest and largest rank. */
  readonly rank: readonly [number, number];
  readonly alpha?: number;
  /** Names of the adapted modules, without their path. */
  readonly targets: readonly string[];
  readonly baseModel?: string;
}

/** Rank, alpha and targets of the low-rank factors in a checkpoint; undefined when it has none. */
export function adapterSummary(
  source: FormatSource,
  logical: readonly { name: string; rank?: number }[],
): AdapterSummary | undefined {
  const pairs = logical.filter(({ rank }) => rank !== undefined);
  if (pairs.length === 0) return undefined;
  let [least, most] = [Infinity, 0];
  for (const { rank = 0 } of pairs) [least, most] = [Math.min(least, rank), Math.max(most, rank)];
  const targets = new Set(pairs.map(({ name }) => name.split('.').at(-2) ?? name));
  const alpha = asNumber(source.adapterConfig?.lora_alpha) ?? metadataAlpha(source);
  const base = source.adapterConfig?.base_model_name_or_path;
  return {
    rank: [least, most],
    ...(alpha !== undefined && { alpha }),
    targets: [...targets].sort(),
    ...(typeof base === 'string' && { baseModel: base }),
  };
}
