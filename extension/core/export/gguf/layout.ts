/** Which tensors a GGUF file of a checkpoint has, in which types, and exactly how large it will be. */
import { llama3Divisors, ROPE_FREQS } from '../../checkpoint/gguf/config';
import { ggufName, pairedRows } from '../../checkpoint/gguf/names';
import {
  serializeGguf,
  type GgufTensorPlace,
  type GgufTensorSpec,
  type SerializedGguf,
} from '../../checkpoint/gguf/serialize';
import type { GgufType } from '../../checkpoint/gguf/types';
import { placeOf } from '../../checkpoint/roles';
import type { CheckpointIndex } from '../../checkpoint/types';
import { LqError } from '../../errors';
import { describeModel } from '../../evaluation/language-model';
import type { FileSystem } from '../../files/types';
import type { NativeLanguageModelConfig, WeightSource } from '../../native';
import { architectureOf, modelFields } from './fields';
import type { StoredModel } from '../loads/stored';
import { tokenizerFields } from './tokenizer';

export type TypeName = GgufType['name'];

/** One weight on its way into the file. */
export interface GgufTensor {
  /** As transformers and this program call it. */
  readonly name: string;
  readonly source: WeightSource;
  readonly place: GgufTensorPlace;
  /** Heads whose rows are stored in the order of rotary pairs, or undefined. */
  readonly heads?: number;
}

export interface GgufLayout extends SerializedGguf {
  readonly weights: readonly GgufTensor[];
  /** Divisors of Llama 3's rotary scaling, and where they go. */
  readonly divisors?: { readonly place: GgufTensorPlace; readonly values: readonly number[] };
}

/** Matrices of a model as `compress --for gguf` chooses types for them: all that are not vectors. */
export interface GgufModel {
  readonly index: CheckpointIndex;
  readonly config: NativeLanguageModelConfig;
  readonly weights: readonly { readonly name: string; readonly source: WeightSource }[];
  /** The file's layout when matrices have these types; vectors are F32. */
  layout(types: ReadonlyMap<string, TypeName>): GgufLayout;
  /** The file as it reads back when matrices have these types. */
  stored(types: ReadonlyMap<string, TypeName>): StoredModel;
}

/**
 * A checkpoint as llama.cpp will know it.
 * @throws LqError 'unsupported-model' and 'tokenizer' for what GGUF or llama.cpp has no form for; those of `describeModel`.
 */
export async function ggufModel(files: FileSystem, index: CheckpointIndex): Promise<GgufModel> {
  const { config, weights } = describeModel(index);
  const modelType = index.config?.model_type;
  const tokenizer = await tokenizerFields(files, index, config.vocab);
  const named = weights.map(({ name, source }) => {
    const stored = ggufName(name);
    if (stored === undefined)
      throw new LqError('unsupported-model', `${name} has no name in GGUF.`, { file: index.file, tensor: name });
    return { name, source, stored };
  });
  const paired = modelType === 'llama' || modelType === 'mistral';
  const specsOf = (types: ReadonlyMap<string, TypeName>): GgufTensorSpec[] =>
    named.map(({ name, source, stored }) => {
      const vector = source.rows === 1;
      return {
        name: stored,
        type: vector ? 'F32' : (types.get(name) ?? 'F32'),
        shape: vector ? [source.cols] : [source.rows, source.cols],
      };
    });
  const { rope } = config;
  const divisors =
    rope.type === 'llama3'
      ? llama3Divisors(config.headDim, config.ropeTheta, {
          factor: rope.factor!,
          lowFreqFactor: rope.lowFreqFactor!,
          highFreqFactor: rope.highFreqFactor!,
          originalMaxPositions: rope.originalMaxPositions!,
        })
      : undefined;
  return {
    index,
    config,
    weights: named,
    stored(types) {
      const specs = specsOf(types);
      const weights = named.map(({ name }, i) => ({ name, spec: specs[i]! }));
      if (divisors)
        weights.push({ name: ROPE_FREQS, spec: { name: ROPE_FREQS, type: 'F32', shape: [divisors.length] } });
      return {
        container: 'gguf',
        architecture: architectureOf(modelType),
        usualHeads: config.headDim * config.heads === config.hidden,
        tokenizer: true,
        weights: weights.map(({ name, spec: { type, shape } }) => ({
          ...{ name, shape, dtype: type, format: 'gguf', asymmetric: false },
          role: placeOf(name).role,
        })),
      };
    },
    layout(types) {
      const specs = specsOf(types);
      const header = serializeGguf(
        new Map([...modelFields(config, modelType, index.label, mostly(specs), index.file), ...tokenizer]),
        [...specs, ...(divisors ? [{ name: ROPE_FREQS, type: 'F32' as const, shape: [divisors.length] }] : [])],
      );
      return {
        ...header,
        weights: named.map(({ name, source, stored }, i) => {
          const which = paired ? pairedRows(stored) : undefined;
          return {
            name,
            source,
            place: header.tensors[i]!,
            ...(which && { heads: which === 'heads' ? config.heads : config.kvHeads }),
          };
        }),
        ...(divisors && { divisors: { place: header.tensors.at(-1)!, values: divisors } }),
      };
    },
  };
}

function mostly(specs: readonly { type: TypeName; shape: readonly number[] }[]): string {
  const weights = new Map<TypeName, number>();
  for (const { type, shape } of specs)
    weights.set(type, (weights.get(type) ?? 0) + shape.reduce((product, size) => product * size, 1));
  return [...weights].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'F32';
}
