/** Every method on one model at equal exported bytes: what `lq-studio methods` shows. */
import type { PipelineContext } from './context';
import { LqError, type ErrorData } from './errors';
import { joinPath } from './files/paths';
import { GENERAL_METHODS } from './options/consumers';
import { findMethod, methods as registry } from './options/methods/registry';
import type { Method } from './options/methods/method';
import { compress } from './pipeline';
import type { MethodsReport, MethodsRow } from './reports';
import type { MethodsRequest } from './requests/requests';

/**
 * Compresses with the given methods, else every one that is of no format's own types, and measures perplexity; the checkpoints are removed again, statistics and costs stay in the
 * cache. A method that cannot meet the size says so in its row; any other failure ends the comparison.
 * @throws LqError those of `compress`.
 */
export async function compareMethods(context: PipelineContext, request: MethodsRequest): Promise<MethodsReport> {
  const { methods: wanted = GENERAL_METHODS, effectiveBits, ...shared } = request;
  const ids = wanted.map(findMethod);
  const rows: MethodsRow[] = [];
  let dense = 0;
  const start = context.now();
  for (const [at, id] of ids.entries()) {
    const method: Method = registry[id];
    const named = { method: id, label: method.label, source: method.source };
    const out = joinPath(
      joinPath(context.cache, 'methods'),
      context.digest(JSON.stringify([shared, effectiveBits, id])),
    );
    try {
      const budget = { kind: 'effective-bits', value: effectiveBits } as const;
      // A method that is chosen without statistics is given none, so that they are not computed for nothing.
      const { calibration, ...rest } = shared;
      const statistics = method.metrics[0] === 'plain' ? { plain: true } : { calibration };
      const report = await compress(oneOf(context, method.label, at, ids.length, start), {
        ...rest,
        ...statistics,
        method: id,
        budget,
        out,
        overwrite: true,
      });
      dense = report.before.perplexity!;
      rows.push({
        ...named,
        effectiveBits: report.effectiveBits,
        bytes: report.bytes,
        perplexity: report.after.perplexity!,
        seconds: Object.values(report.seconds).reduce((sum, seconds) => sum + seconds, 0),
      });
    } catch (error) {
      const refused = refusal(error);
      if (refused === undefined) throw error;
      rows.push({ ...named, refused });
    } finally {
      await context.files.remove(out);
    }
  }
  const found = rows.filter(row => row.perplexity !== undefined).sort((a, b) => a.perplexity! - b.perplexity!);
  return {
    model: request.model,
    effectiveBits,
    dense,
    rows: [...found, ...rows.filter(row => row.refused !== undefined)],
  };
}

/** The context of one method's compression, whose progress tells how far all of them are. */
function oneOf(context: PipelineContext, label: string, at: number, all: number, start: number): PipelineContext {
  return {
    ...context,
    report: ({ whole, item, ...progress }) => {
      const share = (at + (whole?.share ?? 0)) / all;
      const elapsed = (context.now() - start) / 1000;
      // Methods take about the same time each, once statistics are there.
      const secondsLeft = share > 0 ? (elapsed * (1 - share)) / share : 0;
      context.report({
        ...progress,
        item: item === undefined ? label : `${label}, ${item}`,
        ...(whole && { whole: { ...whole, share, elapsed, secondsLeft } }),
      });
    },
  };
}

function refusal(error: unknown): ErrorData | undefined {
  const { code, message } = LqError.from(error);
  return code === 'budget-infeasible' || code === 'unsupported-dtype' ? { code, message } : undefined;
}
