/** Perplexity of a language model on a text. */
import { callNative, stageReporter, type PipelineContext } from '../context';
import { withLanguageModel, type ModelDescription } from './language-model';
import type { Windows } from './windows';

/** exp of the mean cross entropy of all predictions; windows of one length weigh alike. */
export function perplexity(losses: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < losses.length; i++) sum += losses[i]!;
  return Math.exp(sum / losses.length);
}

/**
 * Mean cross entropy of every window. Progress counts windows.
 * @throws LqError 'not-finite' and 'io' naming the tensor, 'out-of-memory', 'cancelled'.
 */
export async function windowLosses(
  context: PipelineContext,
  model: ModelDescription,
  windows: Windows,
): Promise<Float64Array> {
  const report = stageReporter(context, 'evaluate', windows.windows);
  return withLanguageModel(context, model, opened =>
    callNative(
      context,
      { file: model.file },
      control => opened.losses(windows.tokens, windows.context, control),
      done => report(done),
    ),
  );
}
