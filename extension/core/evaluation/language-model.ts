/** A checkpoint opened in the native runtime. */
import type { ModelWeight, NativeLanguageModel, NativeLanguageModelConfig } from '../native';
import { joinPath } from '../files/paths';
import { ggufFamilyNames } from '../checkpoint/gguf/names';
import { ggufNetwork } from '../checkpoint/gguf/network';
import type { GgufMetadata } from '../checkpoint/gguf/values';
import type { CheckpointIndex } from '../checkpoint/types';
import { sliceName } from '../checkpoint/slices';
import { LqError } from '../errors';
import { nativeError, nativePrecision, type PipelineContext } from '../context';
import { logicalTensors } from '../logical/logical';
import { weightLookup } from '../logical/lookup';
import { languageModelConfig, refuseLongContext, warnOfContext, type Architecture } from './architecture';
import { familyNames } from './families/registry';
import { modelWeights, namingOf, storedNetwork, type WeightLookup } from './weights';

/** What the runtime is opened with. */
export interface ModelDescription {
  readonly config: NativeLanguageModelConfig;
  readonly weights: readonly ModelWeight[];
  /** Whether masked tokens are predicted: `config` lacks the mask's id, which is the tokenizer's. */
  readonly masked: boolean;
  /** The checkpoint, for errors. */
  readonly file: string;
  /** What a reader of a figure should know, one sentence each. */
  readonly warnings: readonly string[];
}

/** Stored buffers that are computed from the configuration instead: of older versions, and of GGUF files. */
const COMPUTED =
  /(?:^|\.)(?:rotary_emb\.inv_freq|attn\.(?:masked_)?bias)$|^rope_(?:freqs|factors_(?:long|short))\.weight$/;
/** Names shown in a warning. */
const SHOWN = 3;

/**
 * The network a checkpoint holds. A head of its own is used even where config.json ties it to the embeddings, as
 * transformers 5 does.
 * @param options.context tokens that will be run at a time, for what depends on it
 * @param options.lookup where its weights are; default its own tensors
 * @throws LqError 'unsupported-model', 'tensor-not-found', 'packed-format'.
 */
export function describeModel(
  index: CheckpointIndex,
  { context, lookup = weightLookup(index) }: { context?: number; lookup?: WeightLookup } = {},
): ModelDescription {
  const file = index.gguf ? index.file : joinPath(index.folder, 'config.json');
  const unreadable = index.problems.find(problem => problem.code === 'config-json' && problem.file === file);
  if (unreadable) throw new LqError('unsupported-model', unreadable.message, { file });
  const { gguf } = index;
  const { config, masked, warnings } = gguf
    ? storedInGguf(gguf, index, context)
    : languageModelConfig(index.config, file, context);
  const names = gguf ? ggufFamilyNames(index.config?.model_type) : familyNames(index.config);
  const network = storedNetwork(config, lookup, names);
  const weights = modelWeights(network, lookup, index.path, names);
  return {
    config: network,
    weights,
    masked,
    file: index.path,
    warnings: [
      ...warnings,
      ...(config.tiedEmbeddings && !network.tiedEmbeddings
        ? [
            `config.json ties the head to the embeddings; ${namingOf(lookup, names).ownHead} in the file was used, as transformers does.`,
          ]
        : []),
      ...unusedTensors(index, weights),
    ],
  };
}

/** The network of a GGUF file, which says it in its own keys. */
function storedInGguf(metadata: GgufMetadata, index: CheckpointIndex, context = Infinity): Architecture {
  const config = ggufNetwork(metadata, index);
  refuseLongContext(config, context, index.file);
  return { config, masked: false, warnings: warnOfContext(context, config.maxPositions) };
}

/** A model for tokens that are masked, or are not: what stands for masked ones is the tokenizer's. */
export const forWindows = (model: ModelDescription, { mask }: { readonly mask?: number }): ModelDescription =>
  mask === undefined ? model : { ...model, config: { ...model.config, maskToken: mask } };

/** Without its mask a model of masked tokens would be run as one of next tokens. */
export function requireMask({ masked, config, file }: ModelDescription): void {
  if (masked && config.maskToken === undefined)
    throw new LqError('internal', 'A model of masked tokens was opened without its mask.', { file });
}

/** Tensors that belong to no weight of the network: another configuration than the file was made with, or another head. */
function unusedTensors(index: CheckpointIndex, weights: readonly ModelWeight[]): string[] {
  // An expert's may be a slice of a tensor of all.
  const used = new Set(weights.flatMap(({ name }) => [name, sliceName(name)?.whole ?? name]));
  const unused = logicalTensors(index).filter(({ name }) => !used.has(name) && !COMPUTED.test(name));
  if (unused.length === 0) return [];
  const names = unused.slice(0, SHOWN).map(({ name }) => name);
  const more = unused.length > SHOWN ? ` and ${unused.length - SHOWN} more` : '';
  return [`${names.join(', ')}${more} in the file ${unused.length === 1 ? 'is' : 'are'} no part of the network.`];
}

/** Opens the model, runs `work`, and closes it whatever happens. Rejections of the addon become LqErrors. */
export async function withLanguageModel<T>(
  context: PipelineContext,
  description: ModelDescription,
  work: (model: NativeLanguageModel) => Promise<T>,
): Promise<T> {
  const { config, weights, file } = description;
  requireMask(description);
  let model: NativeLanguageModel;
  try {
    model = await context.native.openLanguageModel(context.device, { ...config, ...nativePrecision(context) }, [
      ...weights,
    ]);
  } catch (error) {
    throw nativeError(error, { file });
  }
  try {
    return await work(model);
  } finally {
    model.close();
  }
}
