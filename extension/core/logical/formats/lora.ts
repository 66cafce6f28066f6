import { elementCount } from '../../dtypes';
import { jsonDescriptor, numericDescriptor } from '../../checkpoint/formats/descriptors';
import { asRecord, type FormatSource, type Recogniser } from './recogniser';

/** PEFT's names for modules and for embeddings, and kohya's. A is [r, in], B is [out, r]. */
const PAIRS: readonly { a: RegExp; b: (module: string, adapter: string) => string }[] = [
  { a: /^(.+)\.lora_A((?:\.[^.]+)?)\.weight$/, b: (module, adapter) => `${module}.lora_B${adapter}.weight` },
  { a: /^(.+)\.lora_embedding_A((?:\.[^.]+)?)$/, b: (module, adapter) => `${module}.lora_embedding_B${adapter}` },
  { a: /^(.+)\.lora_down()\.weight$/, b: module => `${module}.lora_up.weight` },
];
const PEFT_PREFIX = 'base_model.model.';

/** A pair of low-rank factors, shown as the update it is: the shape it adds to, and r·(in + out) parameters of its own. */
export const recogniseLora: Recogniser = (tensor, source) => {
  if (!tensor.name.includes('.lora_')) return undefined;
  for (const pair of PAIRS) {
    const [, stored, adapter = ''] = pair.a.exec(tensor.name) ?? [];
    const b = stored === undefined ? undefined : source.byName.get(pair.b(stored, adapter));
    if (stored === undefined || !b) continue;
    const rank = tensor.shape[0];
    if (rank === undefined || tensor.shape.length < 2 || b.shape.length < 2 || b.shape[1] !== rank) return undefined;
    const module = stored.startsWith(PEFT_PREFIX) ? stored.slice(PEFT_PREFIX.length) : stored;
    const alpha = loraAlpha(stored, module, source);
    return {
      name: `${module}${adapter}.weight`,
      shape: [b.shape[0]!, ...tensor.shape.slice(1)],
      dtype: `LoRA r${rank}${alpha === undefined ? '' : ` α${Number(alpha.toPrecision(4))}`}`,
      format: 'lora',
      parameters: elementCount(tensor.shape) + elementCount(b.shape),
      parts: [tensor, b, ...(source.byName.has(`${stored}.alpha`) ? [source.byName.get(`${stored}.alpha`)!] : [])],
    };
  }
  return undefined;
};

/** The tensor beside the factors, else adapter_config.json with its pattern, else what the file's metadata says. */
function loraAlpha(stored: string, module: string, source: FormatSource): number | undefined {
  const own = source.byName.get(`${stored}.alpha`);
  const stated = own && numericDescriptor(source.descriptors.get(own.name), own.dtype)?.[0];
  if (stated !== undefined) return stated;
  const pattern = Object.entries(asRecord(source.adapterConfig?.alpha_pattern) ?? {});
  // PEFT matches keys as regular expressions; a stranger's expression is not run here, only the names it usually is.
  const special = pattern.find(([key]) => module === key || module.endsWith(`.${key}`))?.[1];
  return asNumber(special) ?? asNumber(source.adapterConfig?.lora_alpha) ?? metadataAlpha(source);
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

/** Rank, alpha and targets of the LoRA factors in a checkpoint; undefined when it has none. */
export function adapterSummary(
  source: FormatSource,
  logical: readonly { name: string; format: string; parts: readonly { shape: readonly number[] }[] }[],
): AdapterSummary | undefined {
  const pairs = logical.filter(({ format }) => format === 'lora');
  if (pairs.length === 0) return undefined;
  const ranks = pairs.map(({ parts }) => parts[0]!.shape[0]!);
  const targets = new Set(pairs.map(({ name }) => name.split('.').at(-2) ?? name));
  const alpha = asNumber(source.adapterConfig?.lora_alpha) ?? metadataAlpha(source);
  const base = source.adapterConfig?.base_model_name_or_path;
  return {
    rank: [Math.min(...ranks), Math.max(...ranks)],
    ...(alpha !== undefined && { alpha }),
    targets: [...targets].sort(),
    ...(typeof base === 'string' && { baseModel: base }),
  };
}
