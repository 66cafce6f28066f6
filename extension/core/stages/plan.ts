/** Plans: from a table of costs and a budget, solved once a request. */
import { planBudget, prepare } from '../allocation/plan';
import { perplexityPredictor } from '../allocation/predict';
import type { FrontierReport, Plan } from '../allocation/types';
import { backendOf, type PipelineContext } from '../context';
import type { FileSystem } from '../files/types';
import { DEFAULTS } from '../requests/defaults';
import type { FrontierRequest, PlanRequest } from '../requests/requests';
import { readSweep } from '../sensitivity/sweep-file';
import type { SweepTable } from '../sensitivity/types';
import { cachedOnce, readCached, waitReporter } from '../storage/cache';

/** What is planned for, from a table's file or the table itself. */
export type PlanInput = Omit<PlanRequest, 'sweep'> & { sweep: string | SweepTable };

/** Solves plans: `plan` itself, or a thread that calls it. */
export type Planner = (request: PlanInput) => Promise<Plan>;

/** Plans from a sweep file or table; the exported size counts the tensors that stay as they are. */
export async function plan(files: FileSystem, request: PlanInput): Promise<Plan> {
  const { table, kept, factors } = await tableOf(files, request);
  const predict = request.measured && perplexityPredictor(request.measured);
  const found = planBudget(table, kept, {
    budget: request.budget,
    factors,
    ...(request.overrides !== undefined && { overrides: request.overrides }),
    ...(request.quick !== undefined && { quick: request.quick }),
  });
  return {
    ...found,
    ...(table.coverage !== undefined && { coverage: table.coverage }),
    ...(predict !== undefined && { predicted: predict(found.objective) }),
  };
}

/**
 * A compression's plan, solved once: a solver that runs against the clock may choose differently another time, and a
 * resumed run must continue with the plan it began with.
 * @param costs how the table's costs were come by
 * @param together whether solving is work that several processes share: none waits for another, and all take the first plan
 */
export async function planOnce(
  context: PipelineContext,
  request: PlanInput & { sweep: SweepTable },
  costs: 'measured' | 'predicted',
  planner: (request: PlanInput & { sweep: SweepTable }) => Promise<Plan>,
  together = false,
): Promise<Plan> {
  const { sweep: table, ...wanted } = request;
  const matrices = table.matrices.map(({ name, hash }) => [name, hash]);
  const key = {
    backend: backendOf(context),
    matrices,
    recipe: table.recipe,
    options: table.options,
    keptBytes: table.model.keptBytes,
    coverage: table.coverage,
    costs,
    wanted,
  };
  const early = together ? ((await readCached<Plan>(context, 'plan', key)) ?? (await planner(request))) : undefined;
  const solved = await cachedOnce<Plan>(context, 'plan', key, {
    make: () => (early === undefined ? planner(request) : Promise.resolve(early)),
    onWait: waitReporter(context, 'plan', table.model.label),
  });
  return solved!;
}

/** The curve of error against size that a budget moves along. */
export async function frontier(files: FileSystem, request: FrontierRequest): Promise<FrontierReport> {
  const { table, kept, factors } = await tableOf(files, request);
  const prepared = prepare(table, kept, factors, request.overrides);
  const predict = request.measured && perplexityPredictor(request.measured);
  const points = prepared
    .frontier(request.kind, request.count)
    .map(point => (predict === undefined ? point : { ...point, predicted: predict(point.objective) }));
  return { points, range: prepared.range(request.kind) };
}

async function tableOf(
  files: FileSystem,
  { sweep: source, factors = DEFAULTS.factors }: Pick<PlanInput, 'sweep' | 'factors'>,
): Promise<{ table: SweepTable; kept: { bytes: number }; factors: Plan['factors'] }> {
  const table = typeof source === 'string' ? await readSweep(files, source) : source;
  return { table, kept: { bytes: table.model.keptBytes }, factors };
}
