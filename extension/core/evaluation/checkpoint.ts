/** The evaluation stage: a checkpoint and a text in, a report out. */
import type { CheckpointIndex } from '../checkpoint/types';
import { devicesOf, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { windowDivergence } from './divergence';
import { forWindows } from './language-model';
import { readModelWindows, type ModelWindows } from './model-windows';
import { perplexity, windowLosses } from './perplexity';
import type { EvaluateReport } from './types';
import type { WindowOptions } from './windows';

/** What is needed to evaluate a model on a text. */
type Prepared = Pick<ModelWindows, 'model' | 'windows'>;

/**
 * Refuses what cannot be evaluated before any work: the model, its tokenizer, the text.
 * @throws LqError 'unsupported-model', 'tensor-not-found', 'tokenizer', 'text-too-short'.
 */
async function prepareEvaluation(
  context: PipelineContext,
  index: CheckpointIndex,
  text: string,
  options: WindowOptions,
): Promise<Prepared> {
  const { model, windows } = await readModelWindows(context, index, text, options);
  return { model: forWindows(model, windows), windows };
}

/**
 * Perplexity of a dense or packed checkpoint on a text file, over non-overlapping windows, each token but a window's first
 * predicted from those before it. With a reference both are run over the text once, and the report has the reference's
 * perplexity and how far the predictions are from its own.
 * @throws LqError as `prepareEvaluation` and `windowLosses`; 'tokenizer' when the reference reads the text as other tokens.
 */
export async function evaluateCheckpoint(
  context: PipelineContext,
  index: CheckpointIndex,
  text: string,
  options: WindowOptions,
  reference?: CheckpointIndex,
): Promise<EvaluateReport> {
  const start = context.now();
  const { model, windows } = await prepareEvaluation(context, index, text, options);
  const measured = await measure();
  return {
    model: index.path,
    text,
    ...measured,
    tokens: windows.windows * windows.predictions,
    windows: windows.windows,
    context: windows.context,
    bos: options.bos ?? false,
    seconds: (context.now() - start) / 1000,
    device: devicesOf(context),
    precision: context.precision.used,
    warnings: [...windows.notes, ...model.warnings],
  };

  async function measure(): Promise<Pick<EvaluateReport, 'perplexity' | 'reference'>> {
    if (reference === undefined) return { perplexity: perplexity(await windowLosses(context, model, windows)) };
    const original = await prepareEvaluation(context, reference, text, options);
    if (!sameTokens(original.windows.tokens, windows.tokens))
      throw new LqError('tokenizer', `${reference.path} reads ${text} as other tokens than ${index.path}.`, {
        file: reference.path,
      });
    const { losses, otherLosses, kl, sameTop } = await windowDivergence(context, original.model, model, windows);
    return {
      perplexity: perplexity(otherLosses),
      reference: { model: reference.path, perplexity: perplexity(losses), kl, sameTop },
    };
  }
}

const sameTokens = (a: Int32Array, b: Int32Array): boolean => a.length === b.length && a.every((id, i) => id === b[i]);
