/** What sets one family of language models apart from another beyond the numbers in its config.json. */
import type { NativeLanguageModelConfig } from '../../native';
import type { ConfigReader } from '../config-reader';
import type { ExpertFamily, ExpertLayout } from './experts';

/** Semantics follow the modelling code of transformers 5; a file beside this one holds one family. */
export interface Family {
  /** `model_type` in config.json. */
  readonly type: string;
  /** Keys that the network depends on beyond those of every family (keys.ts). All others must be inert, or are warned about. */
  readonly keys: readonly string[];
  /** Keys of the configuration that this family names otherwise: usual name to its own. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** What it takes for usual keys that are null or absent. */
  defaults?(config: ConfigReader): Readonly<Record<string, unknown>>;
  /** What it takes for usual keys whatever they say, since it has no such keys. */
  fixed?(config: ConfigReader): Readonly<Record<string, unknown>>;
  /** Keys whose null transformers refuses, beyond those of every family. */
  readonly neverNull?: readonly string[];
  /**
   * When there are as many key-value heads as query heads: where the key is null, also where it is absent, or never;
   * always where the family has no such key, or by keys of its own.
   */
  readonly kvHeadsDefault: 'null' | 'null-or-absent' | 'never' | 'always' | ((config: ConfigReader) => number);
  /** Size of a head where the config has no such key; else hidden size / heads. */
  readonly headDim?: number;
  /** Whether queries and keys are normalised by head before they are rotated. */
  readonly qkNorm: boolean | ((config: ConfigReader) => boolean);
  /** Key of the norms' epsilon and its default; else `rms_norm_eps`, 1e-6. */
  readonly epsilon?: readonly [key: string, value: number];
  /** Key of the activation and its default; else `hidden_act`, SiLU. */
  readonly activation?: readonly [key: string, name: string];
  /** Whether embedding and head are one where the config does not say. */
  readonly tied?: boolean;
  /** Base of the rotary embedding where the config has none; with types of layers, by type. */
  readonly ropeTheta?: number | RopeThetas;
  /** Length before a rotary scaling where the config does not say; else the length it is now said to have. */
  readonly originalPositions?: number;
  /** Whether queries are scaled by their position, as the rotary scaling says. */
  readonly growingQueries?: boolean;
  /** Whether masked tokens are predicted. */
  readonly masked?: boolean;
  /** Share of each head that is rotated where the config has none; families without this field rotate all. */
  readonly rotatedShare?: number;
  /** Tensors of a block whose module is named otherwise than in Llama, by kind of weight. */
  readonly modules?: Readonly<Record<string, string>> | ((config: ConfigReader) => Readonly<Record<string, string>>);
  /** Names outside the blocks that are not Llama's. */
  readonly outer?: Partial<OuterNames>;
  /** Matrices of blocks are stored [in, out]. */
  readonly transposed?: boolean;
  /** Layers with experts; else there are none. */
  readonly experts?: ExpertFamily;
  /** How each layer turns queries and keys; else all as the config says. */
  rotary?(config: ConfigReader, layers: number): readonly LayerRotary[];
  /** Parts of a block beyond Llama's. */
  parts?(config: ConfigReader): FamilyParts;
  biases(config: ConfigReader): Pick<NativeLanguageModelConfig, 'attentionBias' | 'outputBias' | 'mlpBias'>;
  /** Tokens each layer attends to, itself included; 0 for all before it. */
  windows(config: ConfigReader, layers: number): readonly number[];
}

/** Names of what lies outside the blocks. */
export interface OuterNames {
  /** What may stand before all of the network's names, likeliest first. */
  readonly prefixes: readonly string[];
  /** Behind that: the list of blocks, and modules by kind of weight. */
  readonly layers: string;
  readonly modules: Readonly<Record<string, string>>;
  /** The head's tensors, which have their full names, by kind of weight; likeliest first. */
  readonly head: Readonly<Record<string, readonly string[]>>;
}

/** A family's own names, where they are not Llama's. */
export interface FamilyNames {
  /** Modules of a block, by kind of weight. */
  readonly modules: Readonly<Record<string, string>>;
  /** Ways to store experts, likeliest first; none where there are no experts. */
  readonly experts: readonly ExpertLayout[];
  readonly outer: Partial<OuterNames>;
  readonly transposed: boolean;
}

export type LayerRotary = 'standard' | 'local' | 'none';

/** Bases of layers that see everything, and of those that see a window. */
interface RopeThetas {
  readonly full: number;
  readonly sliding: number;
}

/** Parts of the network; what every family's config says in the same way is read elsewhere. */
export type FamilyParts = Partial<
  Omit<
    NativeLanguageModelConfig,
    | 'layers'
    | 'hidden'
    | 'heads'
    | 'kvHeads'
    | 'headDim'
    | 'intermediate'
    | 'vocab'
    | 'maxPositions'
    | 'rmsEps'
    | 'rope'
    | 'ropeTheta'
    | 'ropeLocalTheta'
    | 'slidingWindow'
    | 'layerTraits'
  >
>;

/** No layer turns queries and keys. */
export const unrotated = (_: ConfigReader, layers: number): LayerRotary[] =>
  Array.from({ length: layers }, () => 'none');

/** Any number of positions, as a value for a key that configurations of such models have not. */
export const unlimited = { max_position_embeddings: 2 ** 30 };

export const noBiases = { attentionBias: false, outputBias: false, mlpBias: false };

export const everyLayer = (window: number, layers: number): number[] => Array.from({ length: layers }, () => window);

/**
 * Windows by `layer_types`.
 * @returns undefined when the config has no such list
 * @throws LqError 'unsupported-model' for a list of another length, or another kind of layer.
 */
export function windowsByType(config: ConfigReader, layers: number, window: number): number[] | undefined {
  const types = config.list('layer_types');
  if (types === undefined) return undefined;
  if (types.length !== layers)
    config.refuse(`layer_types names ${types.length} layers and num_hidden_layers ${layers}`);
  return types.map(type => {
    if (type === 'full_attention' || type === 'attention') return 0;
    if (type !== 'sliding_attention') config.refuse(`A layer of type ${String(type)} is not supported`);
    if (window === 0) config.refuse('layer_types has sliding_attention, and no window is in use for it');
    return window;
  });
}

/** One bias switch for attention, output projection included, and one for the MLP. */
export function biasSwitches(
  config: ConfigReader,
): Pick<NativeLanguageModelConfig, 'attentionBias' | 'outputBias' | 'mlpBias'> {
  const attention = config.flag('attention_bias');
  return { attentionBias: attention, outputBias: attention, mlpBias: config.flag('mlp_bias') };
}

/** Windows by `layer_types`, or where there is no such list in every layer but each `every`th. */
export function windowsByPattern(config: ConfigReader, layers: number, window: number, every: number): number[] {
  return (
    windowsByType(config, layers, window) ??
    Array.from({ length: layers }, (_, layer) => ((layer + 1) % every === 0 ? 0 : window))
  );
}
