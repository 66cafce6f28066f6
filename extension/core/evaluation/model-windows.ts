/** A text as the language model of a checkpoint is given it. */
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { describeModel, type ModelDescription } from './language-model';
import type { Text } from './text';
import { TextTokenizer } from './tokenizer';
import { readWindows, type WindowOptions, type Windows } from './windows';

export interface ModelWindows {
  readonly model: ModelDescription;
  readonly tokenizer: TextTokenizer;
  readonly windows: Windows & Text;
}

/**
 * Describes the model for windows of that length and cuts a text into them with its own tokenizer: what cannot be run is refused
 * before any work.
 * @throws LqError 'unsupported-model', 'tensor-not-found', 'packed-format', and those of `readWindows`.
 */
export async function readModelWindows(
  context: PipelineContext,
  index: CheckpointIndex,
  file: string,
  options: Omit<WindowOptions, 'masked'>,
): Promise<ModelWindows> {
  const model = describeModel(index, { context: options.context });
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const { config, masked } = model;
  const windows = await readWindows(
    context.files,
    tokenizer,
    config.vocab,
    file,
    { ...options, masked },
    context.signal,
  );
  return { model, tokenizer, windows };
}
