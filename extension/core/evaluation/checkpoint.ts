/** The evaluation stage: a checkpoint and a text in, a report out. */
import type { EvaluateReport } from './types';
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { describeModel } from './language-model';
import { perplexity, windowLosses } from './perplexity';
import { TextTokenizer } from './tokenizer';
import { readWindows, type WindowOptions } from './windows';

/**
 * Perplexity of a dense or packed checkpoint on a text file, over non-overlapping windows, each token but a window's first
 * predicted from those before it.
 * @throws LqError 'unsupported-model', 'tensor-not-found', 'tokenizer', 'text-too-short' and those of `windowLosses`.
 */
export async function evaluateCheckpoint(
  context: PipelineContext,
  index: CheckpointIndex,
  text: string,
  options: WindowOptions,
): Promise<EvaluateReport> {
  const start = context.now();
  const model = describeModel(index, { context: options.context });
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const windows = await readWindows(context.files, tokenizer, model.config.vocab, text, options, context.signal);
  const losses = await windowLosses(context, model, windows);
  return {
    model: index.path,
    text,
    perplexity: perplexity(losses),
    tokens: windows.windows * (windows.context - 1),
    windows: windows.windows,
    context: windows.context,
    bos: options.bos ?? false,
    seconds: (context.now() - start) / 1000,
    device: context.device,
    warnings: [...windows.notes, ...model.warnings],
  };
}
