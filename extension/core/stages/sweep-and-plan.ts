/** Costs and plan of a compression: from costs that are all measured, or from predicted ones measured where a plan could use them. */
import { expectedMeasures, planLazily, type IsMeasured } from '../allocation/lazy';
import type { Plan } from '../allocation/types';
import type { PipelineContext } from '../context';
import type { ChosenMethod } from '../method';
import { DEFAULTS } from '../requests/defaults';
import type { SweepTable } from '../sensitivity/types';
import { planOnce, type Planner, type PlanInput } from './plan';

export interface SweepAndPlan {
  readonly wanted: Omit<PlanInput, 'sweep'>;
  readonly costs: 'measured' | 'predicted';
  readonly method: ChosenMethod;
  /** The table with at least these costs measured. */
  sweep(context: PipelineContext, measured: IsMeasured): Promise<SweepTable>;
  readonly solve: Planner;
  /** Whether other workers plan the same: each measures what no other is at, and the first plan is everybody's. */
  readonly shared?: boolean;
}

/** Whether costs are predicted first and measured where a plan could use them. */
export const plansLazily = (costs: SweepAndPlan['costs'], { options, metric }: ChosenMethod): boolean =>
  costs === 'predicted' && expectedMeasures(options, metric) < options.length;

/**
 * The plan, all of whose costs are measured, and the table it is from.
 * @throws LqError those of the sweep, of `planBudget`, 'cancelled'.
 */
export async function sweepAndPlan(
  context: PipelineContext,
  { wanted, costs, method, sweep, solve, shared = false }: SweepAndPlan,
): Promise<{ table: SweepTable; plan: Plan }> {
  const lazily = plansLazily(costs, method);
  const first = await sweep(lazily ? asPass(context, 0) : context, () => !lazily);
  let table = first;
  const plan = await planOnce(
    context,
    { sweep: first, ...wanted },
    lazily ? 'predicted' : 'measured',
    async request => {
      if (!lazily) return solve(request);
      const found = await planLazily({
        first,
        sweep: (measured, pass) => sweep(asPass(context, pass), measured),
        solve: lowest => solve({ ...request, sweep: lowest }),
        request: { ...wanted, factors: wanted.factors ?? DEFAULTS.factors },
      });
      table = found.table;
      return found.plan;
    },
    shared && lazily,
  );
  const chosen = new Map(plan.matrices.map(({ name, choice }) => [name, choice]));
  const open = table.matrices.some(({ name, predicted }) => predicted.includes(chosen.get(name)!));
  // A plan that was found by an earlier run: what it measured is in the cache.
  if (open) table = await sweep(asPass(context, 1), (name, option) => chosen.get(name) === option);
  return { table, plan };
}

/** Share of a sweep's progress that each pass takes of what is left. */
const PASS_SHARE = 0.3;

/** The context of one of the passes of a sweep, whose number is not known before. */
function asPass(context: PipelineContext, pass: number): PipelineContext {
  const left = (1 - PASS_SHARE) ** pass;
  const share = (done: number, total: number): number => total * (1 - left + (left * PASS_SHARE * done) / total);
  return {
    ...context,
    report: progress => context.report({ ...progress, done: share(progress.done, progress.total) }),
  };
}
