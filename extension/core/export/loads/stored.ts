/** A checkpoint as a program that is to load it meets it: how each weight is stored, and what is said of the whole. */
import { storedShape } from '../../checkpoint/slices';
import type { CheckpointIndex, LogicalTensor, Role, StorageFormat } from '../../checkpoint/types';
import { logicalTensors } from '../../logical/logical';

export interface StoredWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly role: Role;
  readonly format: StorageFormat;
  /** As a logical tensor says it: `BF16`, `Q4_K`, `INT3 g64`, `NF4 g64`. */
  readonly dtype: string;
  /** Whether zero points are stored. */
  readonly asymmetric: boolean;
}

export interface StoredModel {
  readonly container: 'safetensors' | 'gguf';
  /** `model_type` of config.json, or `general.architecture` of a GGUF file. */
  readonly architecture?: string;
  /** Whether head_dim is hidden_size / num_attention_heads, as far as that is said. */
  readonly usualHeads: boolean;
  /** Whether the container has a tokenizer of its own, where it should. */
  readonly tokenizer: boolean;
  /** Keys of a GGUF file, without the architecture before them. */
  readonly keys: ReadonlySet<string>;
  /** Files of one GGUF model. */
  readonly parts: number;
  readonly weights: readonly StoredWeight[];
}

const storedWeight = ({ name, shape, role, format, dtype, parts }: LogicalTensor): StoredWeight => ({
  ...{ name, role, format, dtype },
  // A target that is stored [in, out] has the shape of its matrix, [out, in].
  shape: format === 'dense' && parts[0] ? storedShape(parts[0]) : shape,
  asymmetric: parts.some(part => /(?:zero_point|qzeros)$/.test(part.name)),
});

/** What is stored, from headers alone. */
export function storedModel(index: CheckpointIndex): StoredModel {
  const { gguf, config } = index;
  const architecture = gguf ? gguf.get('general.architecture') : config?.model_type;
  return {
    container: gguf ? 'gguf' : 'safetensors',
    ...(typeof architecture === 'string' && { architecture }),
    usualHeads: usualHeads(config),
    tokenizer: gguf === undefined || gguf.has('tokenizer.ggml.tokens'),
    keys: new Set([...(gguf?.keys() ?? [])].map(key => withoutArchitecture(key, architecture))),
    parts: gguf ? index.shards.length : 1,
    weights: logicalTensors(index).map(storedWeight),
  };
}

/** A key of a GGUF file as it is named whatever the architecture is. */
export const withoutArchitecture = (key: string, architecture: unknown): string =>
  typeof architecture === 'string' && key.startsWith(`${architecture}.`) ? key.slice(architecture.length + 1) : key;

function usualHeads(config: CheckpointIndex['config']): boolean {
  const { head_dim: size, hidden_size: hidden, num_attention_heads: heads } = config ?? {};
  return typeof size !== 'number' || typeof hidden !== 'number' || hidden === size * Number(heads);
}

/** How a format stores a matrix that it is given an option for. */
export type StoredAs = Pick<StoredWeight, 'format' | 'dtype'>;

/** A checkpoint of which some matrices are stored otherwise. @param changed by name of the matrix */
export function withStored(model: StoredModel, changed: ReadonlyMap<string, StoredAs>): StoredModel {
  return {
    ...model,
    weights: model.weights.map(weight => ({ ...weight, ...(changed.get(weight.name) ?? {}) })),
  };
}
