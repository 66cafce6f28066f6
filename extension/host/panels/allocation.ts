import * as vscode from 'vscode';
import { pricesOf } from '../../core/allocation/prices';
import { LqError } from '../../core/errors';
import { baseName } from '../../core/format';
import { optionBits } from '../../core/options/option';
import type { CompressRequest, PlanRequest } from '../../core/requests/requests';
import type { SweepTable } from '../../core/sensitivity/types';
import type { AllocationView, PlanAnswer, PlanPrediction, PlanQuery } from '../../protocol/panels';
import { subjectOf } from '../model/jobs';
import { LatestWins } from '../model/latest';
import type { Model } from '../model/models';
import { methodLabel } from '../model/describe';
import { isOfTable, planPrediction } from '../model/measured';
import { hasOlderSweeps, madeFrom, type Compression } from '../model/related';
import type { Controller } from './controller';
import { perplexityRuns } from '../model/runs';
import { jobSettings } from '../settings';
import { sweepFile } from '../sweeps';
import type { Studio } from '../studio';
import { formOf, keepForm } from './compress';
import { modelOf, onModelChange } from './subject';
import { allSwept, rankOf, relativeError, summaryOf, sweptOf, whatIf, type Swept } from './swept';

type Query = PlanQuery & { quick: boolean };

/** The allocation panel: plans found from the costs of one sweep, again at every move of the slider. */
export const allocation: Controller<'allocation'> = ({ studio, target, emit, own }) => {
  const open = () => modelOf(studio, target);
  /** The table that was chosen among several; the newest otherwise. */
  let chosen: string | undefined;
  const swept = async (): Promise<Swept & { prediction?: PlanPrediction }> => {
    const model = await open();
    const found = await sweptOf(studio, model, chosen);
    if (!found) throw new LqError('usage', 'Measure the costs of this checkpoint first.');
    return { ...found, ...predictionOf(onCurve(studio, model, found)) };
  };
  const view = async () => viewOf(studio, await open(), chosen);

  const plans = new LatestWins<Query, PlanAnswer>(
    async ({ budget, factors, overrides, quick }, signal) => {
      const { file, norm, table, ...found } = await swept();
      const plan = await studio.engine.request(
        'plan',
        { sweep: file, budget, factors, overrides, quick, ...measuredOf(found) },
        { signal },
      );
      const answer = { plan, relativeError: relativeError(plan.objective, norm) };
      return quick ? answer : { ...answer, prices: pricesOf(table, plan.matrices, factors) };
    },
    // A moving slider does not wait for the plan of where it rested before.
    running => !running.quick,
  );
  own(plans);
  own(onModelChange(studio, target, async () => emit('changed', await view())));
  own({
    dispose: studio.jobs.onChange(job => {
      if (job.status !== 'done' || subjectOf(job) !== target.model) return;
      void view().then(changed => emit('changed', changed));
    }),
  });

  return {
    load: view,
    plan: query => plans.call(query),
    curve: async ({ factors, overrides }, { signal }) => {
      const { file, norm, ...found } = await swept();
      const { points } = await studio.engine.request(
        'frontier',
        { sweep: file, kind: 'bytes', factors, overrides, ...measuredOf(found) },
        { signal },
      );
      return {
        points: points.map(point => summaryOf({ ...point, budget: { kind: 'bytes', value: point.bytes } }, norm)),
      };
    },
    whatIf: async (query, { signal }) =>
      whatIf(studio, await swept(), await allSwept(studio, await open()), query, signal),
    choose: async ({ file, budget, overrides }) => {
      chosen = file;
      return { ...(await view()), budget, overrides };
    },
    use: async ({ budget, factors, overrides }) => {
      const model = await open();
      const { table } = await swept();
      await keepForm(studio, model, { budget, factors, overrides, ranks: ranksOf(table) });
      await studio.navigate({ to: 'compress', model: model.path });
      return null;
    },
    sweep: async request => {
      const model = await open();
      const whole = { ...jobSettings(), ...request, model: model.path, out: await sweepFile(studio, model, request) };
      chosen = undefined;
      return { job: studio.jobs.start('sweep', whole, `Measure costs of ${model.header.label}`).id };
    },
  };
};

const ranksOf = ({ options }: SweepTable): number[] => [...new Set(options.map(({ rank }) => rank))];

const predictionOf = (compressions: readonly Compression[]): { prediction?: PlanPrediction } => {
  const prediction = planPrediction(compressions);
  return prediction === undefined ? {} : { prediction };
};

/** The field of a request that has its plans predict. */
const measuredOf = ({ prediction }: { prediction?: PlanPrediction }): Pick<PlanRequest, 'measured'> =>
  prediction === undefined
    ? {}
    : {
        measured: {
          dense: prediction.dense,
          plans: prediction.plans.map(({ objective, perplexity }) => ({ objective, perplexity })),
        },
      };

/** The compressions of the model's files as they are now whose plans lie on the curve of a table, newest first. */
const onCurve = (studio: Studio, model: Model, { table, file }: Swept): Compression[] =>
  madeFrom(studio.jobs.all(), model.path).filter(
    each => (each.job.version === undefined || each.job.version === model.version) && isOfTable(each, table, file),
  );

async function viewOf(studio: Studio, model: Model, chosen: string | undefined): Promise<AllocationView> {
  const form = formOf(studio, model);
  const swept = await sweptOf(studio, model, chosen);
  const compressions = swept ? onCurve(studio, model, swept) : [];
  const outputs = new Set(compressions.map(({ output }) => output));
  return {
    header: model.header,
    canCompute: vscode.workspace.isTrusted,
    text: textOf(form),
    factors: form.factors ?? 'nf8',
    budget: form.budget,
    overrides: form.overrides ?? [],
    measured: perplexityRuns(studio.jobs.all(), model)
      .filter(run => !run.dense && outputs.has(run.model))
      .map(({ effectiveBits, bytes, perplexity, label, request }) => ({
        ...{ effectiveBits, bytes, perplexity, label },
        overrides: request?.overrides ?? [],
      })),
    ...predictionOf(compressions),
    ...(swept && { sweep: sweepView(swept) }),
    currents: swept ? currentPlans(studio, model, swept) : [],
    ...(!swept && hasOlderSweeps(studio.jobs.all(), model) && { older: true }),
  };
}

const textOf = ({ calibration, samples, context }: CompressRequest): AllocationView['text'] => ({
  ...(calibration !== undefined && { calibration }),
  ...(samples !== undefined && { samples }),
  ...(context !== undefined && { context }),
});

function sweepView({ file, fisher, table, date }: Swept): NonNullable<AllocationView['sweep']> {
  return {
    recipe: table.recipe,
    options: table.options.length,
    method: methodLabel(table.recipe.method),
    bits: bitsOf(table),
    rank: rankOf(table),
    file,
    ...(fisher !== undefined && { fisher }),
    device: table.device,
    seconds: table.seconds,
    date,
    targets: table.matrices.map(({ name, role, layer, rows, cols, norm, weightedNorm }) => ({
      name,
      role,
      layer,
      shape: [rows, cols],
      norm,
      weightedNorm,
    })),
  };
}

/** The plans of the compressions that were made under the same weighting as the costs shown, newest first. */
const currentPlans = (studio: Studio, model: Model, { table, norm }: Swept): AllocationView['currents'] =>
  madeFrom(studio.jobs.all(), model.path)
    .filter(({ report }) => report.recipe.metric.kind === table.recipe.metric.kind)
    .map(({ report, output }) => ({ ...summaryOf(report, norm), name: baseName(output) }));

/** Bits a weight of a table's smallest and largest option, on its first matrix. */
function bitsOf({ options, matrices: [first] }: SweepTable): { least: number; most: number } {
  const all = options.map(option => optionBits(option, first!.rows, first!.cols) / (first!.rows * first!.cols));
  return { least: Math.min(...all), most: Math.max(...all) };
}
