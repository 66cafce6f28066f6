/** Perplexity of a language model on a text. */
import { callNative, type PipelineContext } from '../context';
import { overDevices } from '../lanes';
import { withLanguageModel, type ModelDescription } from './language-model';
import { tokensOf, type Windows } from './windows';

/** exp of the mean cross entropy of all predictions; windows of one length weigh alike. */
export function perplexity(losses: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < losses.length; i++) sum += losses[i]!;
  return Math.exp(sum / losses.length);
}

/**
 * Mean cross entropy of every window, which go over the devices at work. Progress counts windows.
 * @throws LqError 'not-finite' and 'io' naming the tensor, 'out-of-memory', 'cancelled'.
 */
export async function windowLosses(
  context: PipelineContext,
  model: ModelDescription,
  windows: Windows,
): Promise<Float64Array> {
  const parts = await overDevices(context, 'evaluate', windows.windows, (lane, part, done) =>
    withLanguageModel(lane, model, opened =>
      callNative(
        lane,
        { file: model.file },
        control => opened.losses(tokensOf(windows, part), windows.context, control),
        done,
      ),
    ),
  );
  return Float64Array.from(parts.flatMap(losses => [...losses]));
}
