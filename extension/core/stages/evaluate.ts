/** Perplexity of a checkpoint, and that of an original measured once. */
import type { CheckpointIndex } from '../checkpoint/types';
import { arithmeticOf, type PipelineContext } from '../context';
import { modelUnits, recordRate } from '../estimate';
import { evaluateCheckpoint } from '../evaluation/checkpoint';
import { EVALUATION_VERSION, readTextFile } from '../evaluation/text';
import { TextTokenizer } from '../evaluation/tokenizer';
import type { EvaluateReport } from '../evaluation/types';
import { logicalTensors } from '../logical/logical';
import { openComplete } from '../opened';
import { DEFAULTS } from '../requests/defaults';
import type { EvaluateRequest } from '../requests/requests';
import { modelHash } from '../sensitivity/fisher';
import { cachedOnce, waitReporter } from '../storage/cache';

export async function evaluate(context: PipelineContext, request: EvaluateRequest): Promise<EvaluateReport> {
  const index = await openComplete(context.files, request.model);
  const reference = request.reference === undefined ? undefined : await openComplete(context.files, request.reference);
  const options = {
    context: request.context ?? DEFAULTS.context,
    ...(request.windows !== undefined && { windows: request.windows }),
    ...(request.bos !== undefined && { bos: request.bos }),
  };
  const report = await evaluateCheckpoint(context, index, request.text, options, reference);
  const models = reference === undefined ? [index] : [index, reference];
  const units = models.reduce((sum, { parameters }) => sum + modelUnits(parameters, report.tokens), 0);
  await recordRate(context, 'evaluate', units, report.seconds);
  return report;
}

/** The perplexity of a checkpoint that many compressions start from, measured once. */
export async function evaluateOnce(
  context: PipelineContext,
  index: CheckpointIndex,
  request: EvaluateRequest,
): Promise<EvaluateReport> {
  const { text, notes } = await readTextFile(context.files, request.text);
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const key = {
    version: EVALUATION_VERSION,
    model: await modelHash(context, logicalTensors(index)),
    config: index.config,
    tokenizer: context.digest(tokenizer.source),
    bos: tokenizer.bos,
    text: context.digest(text),
    notes,
    window: [request.context ?? DEFAULTS.context, request.windows, request.bos],
    backend: arithmeticOf(context),
  };
  const report = await cachedOnce<EvaluateReport>(context, 'evaluation', key, {
    make: () => evaluate(context, request),
    onWait: waitReporter(context, 'evaluate', index.label),
  });
  return { ...report!, model: request.model, text: request.text };
}
