import { basename } from 'node:path';
import { weighing } from '../../core/format';
import type { SweepRecipe } from '../../core/options/recipe';
import { DEFAULTS } from '../../core/requests/defaults';
import type { CompressRequest } from '../../core/requests/requests';
import type { EvaluateReport } from '../../core/evaluation/types';
import type { Measure } from '../../core/reports';
import type { PerplexityRun } from '../../protocol/panels';
import { methodLabel } from './describe';
import type { Job } from './jobs';
import type { Model } from './models';
import { evaluations, madeFrom, type Compression } from './related';

/**
 * Every perplexity measured of a checkpoint and of what was made from it, newest first: evaluations, and what compressions
 * measured on their way.
 */
export function perplexityRuns(jobs: readonly Job[], original: Model): PerplexityRun[] {
  const made = madeFrom(jobs, original.path);
  const byOutput = new Map(made.map(each => [each.output, each]));
  const evaluated = evaluations(jobs, new Set([original.path, ...byOutput.keys()])).map(job =>
    run(
      { id: job.id, job: job.id, date: job.ended ?? job.created },
      job.result,
      original,
      byOutput.get(job.params.model),
    ),
  );
  const alongside = made.flatMap(compression => measuredAlongside(compression, original));
  return [...evaluated, ...alongside].sort((a, b) => b.date - a.date);
}

function run(
  of: Pick<PerplexityRun, 'id' | 'job' | 'date'>,
  report: EvaluateReport,
  original: Model,
  compression: Compression | undefined,
): PerplexityRun {
  const common = { ...report, ...of };
  const measured: PerplexityRun['recipe'] = [
    { key: 'Text', value: report.text, path: report.text },
    { key: 'Windows', value: `${report.windows} of ${report.context} tokens${report.bos ? ' with BOS' : ''}` },
    { key: 'Device', value: report.device },
    ...report.warnings.map(value => ({ key: 'Note', value })),
  ];
  if (!compression) {
    const { bitsPerWeight, bytes, label, dtype } = original.header;
    return {
      ...common,
      label,
      dense: true,
      bits: bitsPerWeight,
      effectiveBits: bitsPerWeight,
      bytes,
      recipe: [{ key: 'Model', value: `${original.path} (${dtype})`, path: original.path }, ...measured],
    };
  }
  const { report: outcome, job, output } = compression;
  return {
    ...common,
    label: basename(output),
    dense: false,
    bits: outcome.bits,
    effectiveBits: outcome.effectiveBits,
    bytes: outcome.after.bytes,
    recipe: [...compressRecipe(job.params, outcome.recipe), ...measured],
    weighting: outcome.recipe.metric.kind,
    request: job.params,
  };
}

/** How a compressed checkpoint was made, in the order worth reading. */
function compressRecipe(request: CompressRequest, { method, metric }: SweepRecipe): PerplexityRun['recipe'] {
  const { budget, calibration, samples, fisher } = request;
  const weighedBy = calibration ?? fisher;
  const units = { bits: 'bits', 'effective-bits': 'effective bits', bytes: 'bytes' };
  const from =
    calibration !== undefined
      ? `, from ${samples ?? DEFAULTS.samples} sequences of ${calibration}`
      : fisher !== undefined
        ? `, from ${fisher}`
        : '';
  return [
    { key: 'Method', value: methodLabel(method) },
    { key: 'Budget', value: `${budget.value} ${units[budget.kind]}` },
    ...(request.ranks !== undefined ? [{ key: 'Rank', value: request.ranks.join(', ') }] : []),
    { key: 'Error', value: `${weighing[metric.kind]}${from}`, ...(weighedBy !== undefined && { path: weighedBy }) },
    { key: 'Factors', value: request.factors ?? 'nf8' },
    ...(request.seed !== undefined ? [{ key: 'Seed', value: String(request.seed) }] : []),
    { key: 'Output', value: request.out, path: request.out },
  ];
}

function measuredAlongside(compression: Compression, original: Model): PerplexityRun[] {
  const { job, report } = compression;
  const { evalText, context = 512 } = job.params;
  if (evalText === undefined) return [];
  const measure = (
    { perplexity = 0, tokens = 0, windows = 0, precision = 'fp32', kl, sameTop }: Measure,
    model: string,
  ): EvaluateReport => ({
    ...(kl &&
      sameTop !== undefined && {
        reference: { model: original.path, perplexity: report.before.perplexity ?? NaN, kl, sameTop },
      }),
    model,
    text: evalText,
    perplexity,
    tokens,
    windows,
    context,
    bos: false,
    seconds: report.seconds['evaluate'] ?? 0,
    device: job.params.device ?? 'auto',
    precision,
    warnings: [],
  });
  const date = job.ended ?? job.created;
  return [
    ...(report.after.perplexity === undefined
      ? []
      : [
          run(
            { id: `${job.id}-after`, job: job.id, date },
            measure(report.after, report.output),
            original,
            compression,
          ),
        ]),
    ...(report.before.perplexity === undefined
      ? []
      : [
          run(
            { id: `${job.id}-before`, job: job.id, date: date - 1 },
            measure(report.before, original.path),
            original,
            undefined,
          ),
        ]),
  ];
}
