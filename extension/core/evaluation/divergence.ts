/** Two models on one text: losses of both and how far one's predictions are from the other's. */
import { callNative, stageReporter, type PipelineContext } from '../context';
import { LqError } from '../errors';
import type { NativeDivergence } from '../native';
import { withLanguageModel, type ModelDescription } from './language-model';
import type { Windows } from './windows';

/**
 * Runs both over every window once. Progress counts windows.
 * @returns losses of `reference` and of `model`, KL(reference || model) by token, and the share of equal likeliest tokens
 * @throws LqError 'unsupported-model' for other vocabularies, and those of `windowLosses`.
 */
export async function windowDivergence(
  context: PipelineContext,
  reference: ModelDescription,
  model: ModelDescription,
  windows: Windows,
): Promise<NativeDivergence> {
  const [ours, theirs] = [model.config.vocab, reference.config.vocab];
  if (ours !== theirs) {
    const message = `A model of ${ours} tokens cannot be compared with one of ${theirs}.`;
    throw new LqError('unsupported-model', message, { file: model.file });
  }
  const report = stageReporter(context, 'evaluate', windows.windows);
  return withLanguageModel(context, reference, first =>
    withLanguageModel(context, model, second =>
      callNative(
        context,
        { file: model.file },
        control => first.divergence(second, windows.tokens, windows.context, control),
        done => report(done),
      ),
    ),
  );
}
