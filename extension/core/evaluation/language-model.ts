/** A checkpoint opened in the native runtime. */
import type { ModelWeight, NativeLanguageModel, NativeLanguageModelConfig } from '../native';
import { joinPath } from '../files/paths';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import { nativeError, type PipelineContext } from '../context';
import { readPacked } from '../packed/reader';
import { languageModelConfig } from './architecture';
import { modelWeights, type WeightLookup } from './weights';

/** What the runtime is opened with. */
export interface ModelDescription {
  readonly config: NativeLanguageModelConfig;
  readonly weights: readonly ModelWeight[];
  /** The checkpoint, for errors. */
  readonly file: string;
}

/** Tensors of a dense or packed checkpoint by the names the model knows them by. @throws LqError 'packed-format'. */
export function checkpointWeights(index: CheckpointIndex): WeightLookup {
  const packed = readPacked(index);
  return name => {
    const tensor = index.byName.get(name);
    return tensor === undefined ? packed.get(name)?.source : tensorSource(tensor);
  };
}

/**
 * The network a checkpoint holds.
 * @param lookup where its weights are; default its own tensors
 * @throws LqError 'unsupported-model', 'tensor-not-found', 'packed-format'.
 */
export function describeModel(
  index: CheckpointIndex,
  lookup: WeightLookup = checkpointWeights(index),
): ModelDescription {
  const config = languageModelConfig(index.config, joinPath(index.folder, 'config.json'));
  return { config, weights: modelWeights(config, lookup, index.path), file: index.path };
}

/** Opens the model, runs `work`, and closes it whatever happens. Rejections of the addon become LqErrors. */
export async function withLanguageModel<T>(
  context: PipelineContext,
  { config, weights, file }: ModelDescription,
  work: (model: NativeLanguageModel) => Promise<T>,
): Promise<T> {
  let model: NativeLanguageModel;
  try {
    model = await context.native.openLanguageModel(context.device, config, [...weights]);
  } catch (error) {
    throw nativeError(error, { file });
  }
  try {
    return await work(model);
  } finally {
    model.close();
  }
}
