/** What llama.cpp computes for one value of general.architecture, as far as a checkpoint's network can differ from it. */
import type { NativeActivation, NativeExperts, NativeLanguageModelConfig } from '../../../native';
import type { GgufField } from '../serialize';

type Parts = NativeLanguageModelConfig;

/**
 * A file beside this one holds one architecture, read in llama.cpp's src/models and conversion folders. Whatever of a network is
 * neither computed, stated nor listed here is refused by name: llama.cpp would run another network without a word.
 */
export interface Architecture {
  /** Values of `model_type` in config.json that it runs. */
  readonly models: readonly string[];
  /** Value of general.architecture. */
  readonly name: string;
  /** Names of tensors that differ from the usual ones (names.ts), by kind of weight. */
  readonly modules?: Readonly<Record<string, string>>;
  /** Parts of the network beyond Llama's that it computes whatever the file says. */
  readonly computes?: Partial<Parts> | ((config: Parts) => Partial<Parts>);
  /** Parts that keys of the file say, by the part. */
  readonly states?: { readonly [part in keyof Parts]?: Stated };
  /** Parts that are there where a tensor is, by the name of the first layer's. */
  readonly tensors?: { readonly qkNorm?: string };
  /** Stated parts that it cannot do without. */
  readonly always?: readonly (keyof Parts)[];
  /** Keys it needs besides. */
  readonly keys?: (config: Parts) => readonly (readonly [key: string, value: GgufField])[];
  /** Rows of q and k are stored in the order of rotary pairs within a head. */
  readonly paired?: true;
  /** Rows of q, k and v in one matrix are all queries, all keys, all values, whatever they are in transformers. */
  readonly stacks?: true;
  /** What the weights of its norms count from, which is in what is stored. */
  readonly normOffset?: 1;
  /** Default SiLU; the first is the one of a file that is read. `gelu` is computed by its tanh approximation everywhere. */
  readonly activations?: readonly NativeActivation[];
  /** Which projections may have a bias: q, k and v; o; those of the MLP. */
  readonly biases?: readonly ('attention' | 'output' | 'mlp')[];
  /** The rotary scaling whose divisors it reads from tensors. */
  readonly divisors?: 'llama3' | 'longrope';
  /** Each how many layers one is without a window; absent: it has no windows. */
  readonly windowPeriod?: number;
  /** A file without a window is that of a network without windows; else it needs one. */
  readonly windowOptional?: true;
  /** How a layer turns queries and keys; default all as usual. @param windowed whether it has a window */
  readonly rotary?: (layer: number, windowed: boolean) => 'standard' | 'local' | 'none';
  /** The context that is said of a network that has no end. */
  readonly usualContext?: number;
  /** Embedding and head are one tensor, whatever the file has. */
  readonly tied?: true;
  /** Where it routes: what it computes beyond softmax, and the key of the experts' width. */
  readonly experts?: {
    readonly computes: Partial<NativeExperts>;
    readonly width: 'feed_forward_length' | 'expert_feed_forward_length';
    /** All tokens go through one that is as wide as this key says, or as so many experts. */
    readonly shared?: 'expert_shared_feed_forward_length' | 'expert_shared_count';
    /** The first layers, as many as this key says, have none. */
    readonly dense?: 'leading_dense_block_count';
    /** Parts of the router that keys say. */
    readonly states?: { readonly [part in keyof NativeExperts]?: Stated };
    /** Keys besides. */
    readonly keys?: readonly (readonly [key: string, value: GgufField])[];
  };
}

/** A part that a key says: as it is, inverted, or whether it is there. */
export interface Stated {
  readonly key: string;
  readonly as: 'number' | 'inverse' | 'flag';
}

export const u32 = (value: number): GgufField => ({ type: 'u32', value });
export const f32 = (value: number): GgufField => ({ type: 'f32', value });
export const text = (value: string): GgufField => ({ type: 'string', value });

/** A number that a key says as it is. */
export const stated = (key: string): Stated => ({ key, as: 'number' });

/** Norms behind attention and MLP, as most architectures name them. */
export const NORMS_AFTER = { attention_output_norm: 'post_attention_norm', mlp_output_norm: 'post_ffw_norm' } as const;
