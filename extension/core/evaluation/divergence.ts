/** Two models on one text: losses of both and how far one's predictions are from the other's. */
import { callNative, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { overDevices } from '../lanes';
import type { NativeDivergence } from '../native';
import { withLanguageModel, type ModelDescription } from './language-model';
import { tokensOf, type Windows } from './windows';

/** Of a reference and a model on one text. */
export interface WindowDivergence {
  /** Mean cross entropy of each window, of the reference and of the model. */
  readonly losses: Float64Array;
  readonly otherLosses: Float64Array;
  /** KL(reference || model) in nats: mean over predictions, and what 99 % of them do not exceed. */
  readonly kl: { readonly mean: number; readonly p99: number };
  /** Share of predictions where both find the same token likeliest. */
  readonly sameTop: number;
}

/**
 * Runs both over every window once, which go over the devices at work. Progress counts windows.
 * @throws LqError 'unsupported-model' for other vocabularies, and those of `windowLosses`.
 */
export async function windowDivergence(
  context: PipelineContext,
  reference: ModelDescription,
  model: ModelDescription,
  windows: Windows,
): Promise<WindowDivergence> {
  const [ours, theirs] = [model.config.vocab, reference.config.vocab];
  if (ours !== theirs) {
    const message = `A model of ${ours} tokens cannot be compared with one of ${theirs}.`;
    throw new LqError('unsupported-model', message, { file: model.file });
  }
  const parts = await overDevices(context, 'evaluate', windows.windows, (lane, part, done) =>
    withLanguageModel(lane, reference, first =>
      withLanguageModel(lane, model, second =>
        callNative(
          lane,
          { file: model.file },
          control => first.divergence(second, tokensOf(windows, part), windows.context, control),
          done,
        ),
      ),
    ),
  );
  const losses = (of: (part: NativeDivergence) => Float64Array): Float64Array =>
    Float64Array.from(parts.flatMap(part => [...of(part)]));
  const kl = new Float32Array(parts.reduce((sum, part) => sum + part.kl.length, 0));
  let [at, same] = [0, 0];
  for (const part of parts) {
    kl.set(part.kl, at);
    at += part.kl.length;
    same += part.sameTop;
  }
  return {
    losses: losses(part => part.losses),
    otherLosses: losses(part => part.otherLosses),
    kl: { mean: kl.reduce((sum, value) => sum + value, 0) / kl.length, p99: percentile(kl, 0.99) },
    sameTop: same / kl.length,
  };
}

/** The smallest value that a share of all are at most; sorts them. */
function percentile(values: Float32Array, share: number): number {
  values.sort();
  return values[Math.max(Math.ceil(share * values.length) - 1, 0)]!;
}
