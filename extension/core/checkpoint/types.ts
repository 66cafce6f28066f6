/** What a checkpoint is, as values: made by reading headers, never by reading weights. */
import type { BlockType, Dtype } from '../dtypes';
import type { GgufMetadata } from './gguf/values';

/** One stored tensor. Offsets are absolute byte positions in `file`, exact below 2^53. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype | BlockType;
  readonly shape: readonly number[];
  /** Absolute path of the file that holds it. */
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** The bytes are those of [cols, rows], the transpose of `shape`. */
  readonly transposed?: true;
}

/** One file of a checkpoint. */
export interface ShardInfo {
  /** Absolute path. */
  readonly file: string;
  readonly bytes: number;
  readonly headerBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: number;
  /** Named by the index but not there. Its tensors are then absent from the index below and listed in `problems`. */
  readonly missing?: boolean;
}

/** A fault or remark found while opening that still leaves something to show. Compression refuses a checkpoint with errors. */
export interface CheckpointProblem {
  readonly severity: 'error' | 'warning' | 'information';
  readonly code: string;
  readonly message: string;
  readonly file?: string;
  readonly tensor?: string;
}

/** A whole checkpoint: one file, an index with its shards, or a Hugging Face folder. */
export interface CheckpointIndex {
  /** What the user opened, absolute. */
  readonly path: string;
  /** The safetensors or GGUF file or the index that `path` led to. */
  readonly file: string;
  /** The folder that holds config.json, tokenizer and shards. */
  readonly folder: string;
  readonly label: string;
  readonly shards: readonly ShardInfo[];
  /** In natural order of their names. */
  readonly tensors: readonly TensorInfo[];
  readonly byName: ReadonlyMap<string, TensorInfo>;
  /** config.json when there is one, unvalidated; of a GGUF file what it would be. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Keys and values of a GGUF file, from which its `config` is made. */
  readonly gguf?: GgufMetadata;
  /** adapter_config.json when there is one. */
  readonly adapterConfig?: Readonly<Record<string, unknown>>;
  /** Bytes of the few tiny tensors that describe packed weights (see formats/descriptors.ts), by name. */
  readonly descriptors: ReadonlyMap<string, Uint8Array>;
  readonly problems: readonly CheckpointProblem[];
  readonly parameters: number;
  readonly bytes: number;
}

/** What a weight does in the network, independent of the family's naming. */
export type Role =
  | 'q'
  | 'k'
  | 'v'
  | 'o'
  | 'qkv'
  | 'gate'
  | 'up'
  | 'down'
  | 'gate_up'
  | 'fc1'
  | 'fc2'
  | 'embedding'
  | 'position'
  | 'head'
  | 'norm'
  | 'bias'
  | 'rotary'
  | 'pooler'
  | 'other';

/** How the bytes of a logical weight are stored. */
export type StorageFormat =
  | 'dense'
  | 'lq'
  | 'gguf'
  | 'gptq'
  | 'awq'
  | 'marlin'
  | 'bitsandbytes'
  | 'compressed-tensors'
  | 'quark'
  | 'mxfp4'
  | 'nvfp4'
  | 'fp8'
  | 'mlx'
  | 'exl2'
  | 'exl3'
  | 'hqq'
  | 'quanto'
  | 'aqlm'
  | 'vptq'
  | 'quip'
  | 'bitnet'
  | 'eetq'
  | 'nunchaku'
  | 'torchao'
  | 'lora';

/** A weight as the model sees it: one dense tensor, or the codes, scales and factors another tool packed it into. */
export interface LogicalTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Dtype of a dense tensor, otherwise a label such as `NF4` or `INT4 g128`. */
  readonly dtype: string;
  readonly format: StorageFormat;
  readonly parameters: number;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly role: Role;
  /** Index of the repeated block it belongs to, or -1. */
  readonly layer: number;
  /** Whether linear maps are stored [in, out], as a Conv1D does and some tensors of experts. `shape` is as stored. */
  readonly transposed: boolean;
  /** Of a low-rank adapter. */
  readonly rank?: number;
  readonly parts: readonly TensorInfo[];
}

/** A node of the layer tree. Leaves carry a logical tensor. */
export interface TreeNode {
  /** Full dotted path; unique. */
  readonly path: string;
  /** The last segment, or a range such as `layers.0-31` for a collapsed repeat. */
  readonly label: string;
  readonly children: readonly TreeNode[];
  readonly tensor?: LogicalTensor;
  readonly parameters: number;
  readonly bytes: number;
  /** Set on a node that stands for several structurally equal siblings, which are its children. */
  readonly repeats?: number;
}
