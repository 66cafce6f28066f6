/** Which runs say something about the plans of a table of costs: those that were planned from the same options, weighed alike. */
import { baseName } from '../../core/format';
import { optionsOf } from '../../core/method';
import type { SweepTable } from '../../core/sensitivity/types';
import type { PlanPrediction } from '../../protocol/panels';
import type { Compression } from './related';

/** Options as they are compared: in no order. */
const sortedOptions = (options: SweepTable['options']): string =>
  JSON.stringify(options.map(option => JSON.stringify(option)).sort());

/** Whether a compression chose among a table's options under its metric: its plan then lies on the table's curve. */
export function isOfTable({ job, report }: Compression, table: SweepTable, file: string): boolean {
  const { method, metric } = report.recipe;
  if (method !== table.recipe.method || metric.kind !== table.recipe.metric.kind) return false;
  if (job.params.sweepOut === file) return true;
  return sortedOptions(optionsOf(job.params)) === sortedOptions(table.options);
}

/**
 * What plans of a table would have for a perplexity is predicted from: of its compressions, newest first, those that were
 * evaluated and encoded as the newest was. Absent where none was.
 */
export function planPrediction(compressions: readonly Compression[]): PlanPrediction | undefined {
  const evaluated = compressions.filter(
    ({ report: { before, after } }) => before.perplexity !== undefined && after.perplexity !== undefined,
  );
  const way = ({ job: { params } }: Compression): string => {
    const { calibration, evalText, context, windows, secondPass = calibration !== undefined } = params;
    return JSON.stringify([evalText, context, windows, secondPass]);
  };
  const [newest] = evaluated;
  const dense = newest?.report.before.perplexity;
  if (newest === undefined || dense === undefined) return undefined;
  const alike = evaluated.filter(each => way(each) === way(newest));
  const plans = alike.map(({ report, output }) => ({
    objective: report.objective,
    perplexity: report.after.perplexity!,
    bytes: report.after.bytes,
    label: baseName(output),
  }));
  // The original is better than every one of them, or nothing is known of what is lost.
  if (!plans.some(({ perplexity }) => perplexity > dense)) return undefined;
  return { dense, plans, text: newest.job.params.evalText! };
}
