/** Which tensors a GGUF file of a checkpoint has, in which types, and exactly how large it will be. */
import { llama3Divisors, ROPE_FREQS } from '../../checkpoint/gguf/rope';
import { logicalName, storedOffset } from '../../checkpoint/gguf/names';
import { rowOrder } from '../../checkpoint/gguf/rows';
import type { GgufTensorPlace, GgufTensorSpec } from '../../checkpoint/gguf/serialize';
import { serializeGgufParts } from '../../checkpoint/gguf/serialize-parts';
import type { GgufType } from '../../checkpoint/gguf/types';
import { placeOf } from '../../checkpoint/roles';
import type { CheckpointIndex } from '../../checkpoint/types';
import { LqError } from '../../errors';
import { describeModel } from '../../evaluation/language-model';
import { resolveFamily } from '../../evaluation/families/registry';
import type { FileSystem } from '../../files/types';
import type { ModelWeight, NativeLanguageModelConfig, WeightSource } from '../../native';
import { withoutArchitecture, type StoredModel } from '../loads/stored';
import type { Architecture } from '../../checkpoint/gguf/architectures/architecture';
import { isWide, tensorName } from '../../checkpoint/gguf/architectures/names';
import { architectureOf } from '../../checkpoint/gguf/architectures/registry';
import { modelFields } from './fields';
import { requireFit, windowOf } from './fit';
import { tokenizerFields } from './tokenizer';

export type TypeName = GgufType['name'];

/** One weight on its way into the file. */
export interface GgufTensor {
  /** As transformers and this program call it. */
  readonly name: string;
  readonly source: WeightSource;
  /** Of its own bytes: an expert's are within those of the tensor of all. */
  readonly place: GgufTensorPlace;
  /** Which of the files it is in. */
  readonly part: number;
  /** The order its rows are stored in, where it is another. */
  readonly order?: Int32Array;
  /** Added to all of its values. */
  readonly plus?: number;
  /** It is this half of its source, where gate and up are one matrix. */
  readonly half?: Half;
}

/** Gate is the first half of what they are together, or every other row from the first on. */
interface Half {
  readonly of: 'gate' | 'up';
  readonly order: 'stacked' | 'interleaved';
}

/** Numbers that are computed and not a weight's, and where they go. */
interface GgufConstants {
  readonly place: GgufTensorPlace;
  readonly part: number;
  readonly values: readonly number[];
}

export interface GgufLayout {
  readonly files: readonly { readonly header: Uint8Array; readonly bytes: number }[];
  /** Of all files. */
  readonly fileBytes: number;
  readonly weights: readonly GgufTensor[];
  /** Divisors of a rotary scaling. */
  readonly constants: readonly GgufConstants[];
}

/** A weight and the tensor of the file that has its values, or is to. */
interface NamedWeight {
  readonly name: string;
  readonly source: WeightSource;
  /** Name in the file. */
  readonly stored: string;
  /** Of an expert: which of so many matrices of the tensor it is. */
  readonly slice?: { readonly at: number; readonly count: number };
  readonly kind: string;
  readonly half?: Half;
}

/** Matrices of a model as `compress --for gguf` chooses types for them: all that are not vectors. */
export interface GgufModel {
  readonly index: CheckpointIndex;
  readonly config: NativeLanguageModelConfig;
  /** Value of general.architecture. */
  readonly architecture: string;
  readonly weights: readonly NamedWeight[];
  /** What somebody should know beforehand, a sentence each. */
  readonly notes: readonly string[];
  /**
   * The layout when matrices have these types, those of experts of a layer the same; vectors are F32.
   * @param limit bytes of a file, where the model is to be several
   */
  layout(types: ReadonlyMap<string, TypeName>, limit?: number): GgufLayout;
  /** The model as it reads back when matrices have these types, in so many files. */
  stored(types: ReadonlyMap<string, TypeName>, parts: number): StoredModel;
  /** What the file as it reads back calls a weight. */
  written(weight: NamedWeight): string;
}

/**
 * A checkpoint as llama.cpp will know it.
 * @throws LqError 'unsupported-model' and 'tokenizer' for what GGUF or llama.cpp has no form for; those of `describeModel`.
 */
export async function ggufModel(files: FileSystem, index: CheckpointIndex): Promise<GgufModel> {
  const { config, weights } = describeModel(index);
  const modelType = index.config && resolveFamily(index.config)?.family.type;
  const architecture = architectureOf(modelType);
  if (architecture === undefined)
    throw new LqError('unsupported-model', `GGUF has no form for ${String(modelType)} that this program writes.`, {
      file: index.file,
    });
  requireFit(config, architecture, index.file);
  const { positions } = windowOf(config, architecture, index.file);
  const tokenizer = await tokenizerFields(files, index, config.vocab);
  const named = weights.flatMap(weight => namedWeights(weight, config, architecture, index.file));
  const tensors = tensorsOf(named);
  const nameInFile = ({ stored, slice }: Pick<NamedWeight, 'stored' | 'slice'>): string =>
    logicalName(architecture.name, slice ? `${stored}[${slice.at}]` : stored);
  const constants = divisorsOf(config);
  const specsOf = (types: ReadonlyMap<string, TypeName>): GgufTensorSpec[] => [
    ...tensors.map(all => specOf(all, types)),
    ...[...constants].map(([name, values]) => ({ name, type: 'F32' as const, shape: [values.length] })),
  ];
  return {
    index,
    config,
    architecture: architecture.name,
    weights: named,
    notes: [
      ...(positions < config.maxPositions && architecture.usualContext === undefined
        ? [
            `llama.cpp has no windows of attention for ${architecture.name}: the file says a context of ${positions} tokens, up to which there is no difference.`,
          ]
        : []),
      ...(config.rope.exact
        ? [
            'llama.cpp rounds the range of rotary pairs that yarn interpolates to whole pairs, which this network does not: its logits differ a little.',
          ]
        : []),
    ],
    written: nameInFile,
    stored: (types, parts) => ({
      container: 'gguf',
      architecture: architecture.name,
      usualHeads: config.headDim * config.heads === config.hidden,
      tokenizer: true,
      keys: new Set(
        [...modelFields(config, architecture, index.label, 'F32', index.file).keys()].map(key =>
          withoutArchitecture(key, architecture.name),
        ),
      ),
      parts,
      weights: specsOf(types).flatMap(({ name: stored, type, shape }, i) =>
        // Those of experts read back one by one.
        (tensors[i] ?? [{ stored }]).map((weight: Pick<NamedWeight, 'stored' | 'slice'>) => {
          const name = nameInFile(weight);
          return {
            ...{ name, shape: weight.slice ? shape.slice(1) : shape },
            ...{ dtype: type, format: 'gguf' as const, asymmetric: false, role: placeOf(name).role },
          };
        }),
      ),
    }),
    layout(types, limit = Infinity) {
      const specs = specsOf(types);
      const fields = new Map([
        ...modelFields(config, architecture, index.label, mostly(specs), index.file),
        ...tokenizer,
      ]);
      const parts = serializeGgufParts(fields, specs, limit);
      const places = parts.flatMap(({ tensors: own }, part) => own.map(place => ({ place, part })));
      return {
        files: parts.map(({ bytes: header, fileBytes: bytes }) => ({ header, bytes })),
        fileBytes: parts.reduce((sum, { fileBytes }) => sum + fileBytes, 0),
        weights: tensors.flatMap((all, i) => all.map(weight => placed(weight, places[i]!, config, architecture))),
        constants: [...constants.values()].map((values, i) => ({ ...places[tensors.length + i]!, values })),
      };
    },
  };
}

/** What a weight is in the file: one tensor or an expert's part of one, or of gate and up together one each. */
function namedWeights(
  { name, source, ...place }: ModelWeight,
  { layerTraits, experts, fusedGateUp }: NativeLanguageModelConfig,
  architecture: Architecture,
  file: string,
): NamedWeight[] {
  const { expert, layer } = place;
  const routed = layerTraits?.[layer]?.routed === true;
  const slice = expert !== undefined && { slice: { at: expert, count: experts!.count } };
  const stored = tensorName(architecture, place, routed);
  if (stored !== undefined) return [{ name, source, stored, kind: place.kind, ...slice }];
  const order = expert === undefined ? fusedGateUp : experts?.fusedGateUp;
  const halves = (['gate', 'up'] as const).flatMap((of): NamedWeight[] => {
    const kind = place.kind.replace(/^gate_up/, of);
    const own = kind === place.kind ? undefined : tensorName(architecture, { ...place, kind }, routed);
    return own === undefined || order === undefined
      ? []
      : [{ name: `${name} (${of})`, source, stored: own, kind, ...slice, half: { of, order } }];
  });
  if (halves.length < 2) throw new LqError('unsupported-model', `${name} has no name in GGUF.`, { file, tensor: name });
  return halves;
}

/** Rows and columns of what is stored; a vector has one row. */
function shapeOf({ source: { rows, cols }, half }: Pick<NamedWeight, 'source' | 'half'>): [rows: number, cols: number] {
  if (half === undefined) return [rows, cols];
  return rows === 1 ? [1, cols / 2] : [rows / 2, cols];
}

/** Weights by the tensor they are stored in, each with its experts in order. */
function tensorsOf(weights: readonly NamedWeight[]): NamedWeight[][] {
  const found = new Map<string, NamedWeight[]>();
  for (const weight of weights) found.set(weight.stored, [...(found.get(weight.stored) ?? []), weight]);
  return [...found.values()];
}

const isVector = ({ source }: Pick<NamedWeight, 'source'>): boolean => source.rows === 1;

function specOf(all: readonly NamedWeight[], types: ReadonlyMap<string, TypeName>): GgufTensorSpec {
  const [weight] = all as [NamedWeight];
  const { stored: name, source, kind, slice, name: first } = weight;
  const [rows, cols] = shapeOf(weight);
  if (isVector({ source }) && (slice === undefined || kind.endsWith('_bias')))
    return { name, type: 'F32', shape: slice ? [slice.count, cols] : [cols] };
  const type = isWide(kind) ? 'F32' : (types.get(first) ?? 'F32');
  const other = all.find(weight => (types.get(weight.name) ?? 'F32') !== (types.get(first) ?? 'F32'));
  if (other)
    throw new LqError('internal', `${other.name} has another type than ${first}, in one tensor.`, { tensor: name });
  return { name, type, shape: slice === undefined ? [rows, cols] : [slice.count, rows, cols] };
}

function placed(
  weight: NamedWeight,
  { place, part }: { readonly place: GgufTensorPlace; readonly part: number },
  { heads, kvHeads }: NativeLanguageModelConfig,
  architecture: Architecture,
): GgufTensor {
  const { name, source, slice, stored, half } = weight;
  const [rows, cols] = shapeOf(weight);
  const order = rowOrder(architecture, stored, rows === 1 ? cols : rows, () => ({ heads, kvHeads }));
  const plus = storedOffset(architecture, stored);
  const bytes = slice ? place.bytes / slice.count : place.bytes;
  return {
    name,
    source,
    place: slice ? { ...place, shape: place.shape.slice(1), offset: place.offset + slice.at * bytes, bytes } : place,
    part,
    ...(order && { order }),
    ...(plus !== 0 && { plus }),
    ...(half && { half }),
  };
}

/** Tensors of what a rotary scaling divides frequencies by. */
function divisorsOf({ rope, headDim, ropeTheta }: NativeLanguageModelConfig): Map<string, readonly number[]> {
  if (rope.type === 'llama3') {
    const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = rope;
    const scaling = {
      factor: factor!,
      lowFreqFactor: lowFreqFactor!,
      highFreqFactor: highFreqFactor!,
      originalMaxPositions: originalMaxPositions!,
    };
    return new Map([[ROPE_FREQS, llama3Divisors(headDim, ropeTheta, scaling)]]);
  }
  if (rope.type !== 'longrope') return new Map();
  return new Map([
    ['rope_factors_long.weight', rope.longFactors!],
    ['rope_factors_short.weight', rope.shortFactors!],
  ]);
}

function mostly(specs: readonly { type: TypeName; shape: readonly number[] }[]): string {
  const weights = new Map<TypeName, number>();
  for (const { type, shape } of specs)
    weights.set(type, (weights.get(type) ?? 0) + shape.reduce((product, size) => product * size, 1));
  return [...weights].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'F32';
}
