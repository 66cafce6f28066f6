import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { PerplexityView } from '../../protocol/panels';
import type { Model } from '../model/models';
import { madeFrom, originOf } from '../model/related';
import { perplexityRuns } from '../model/runs';
import type { Controller } from './controller';
import { jobSettings } from '../settings';
import { isOlder } from '../older';
import type { Studio } from '../studio';
import { modelOf, onModelChange } from './subject';

const lastText = 'lqStudio.evaluationText';
const lastContext = 'lqStudio.evaluationContext';
const forgotten = 'lqStudio.forgottenRuns';

/** The perplexity panel: every run of a checkpoint and of what was made from it. */
export const perplexity: Controller<'perplexity'> = ({ studio, target, emit, own }) => {
  const open = async () => originalOf(studio, await modelOf(studio, target));
  const view = async () => viewOf(studio, await open());

  own(onModelChange(studio, target, async () => emit('changed', await view())));
  own({
    dispose: studio.jobs.onChange(job => {
      if (job.status === 'done') void view().then(changed => emit('changed', changed));
    }),
  });

  return {
    load: view,
    evaluate: async request => {
      const model = await studio.models.open(request.model);
      await studio.memento.update(lastText, request.text);
      await studio.memento.update(lastContext, request.context);
      const whole = { ...jobSettings(), ...request, model: model.path };
      return { job: studio.jobs.start('evaluate', whole, `Evaluate ${model.header.label}`).id };
    },
    forget: async ({ id }) => {
      // What a compression measured is part of its report; it is only not shown any more.
      if (studio.jobs.get(id)) await studio.jobs.remove(id);
      else await studio.memento.update(forgotten, [...studio.memento.get<string[]>(forgotten, []), id]);
      return null;
    },
  };
};

/** Runs are told of the original, whichever side the panel was opened for. */
async function originalOf(studio: Studio, model: Model): Promise<Model> {
  const origin = originOf(studio.jobs.all(), model.path);
  if (!origin) return model;
  try {
    return await studio.models.open(origin.original);
  } catch (error) {
    studio.output.debug(`${origin.original} is not there any more: ${LqError.from(error).message}`);
    return model;
  }
}

async function viewOf(studio: Studio, model: Model): Promise<PerplexityView> {
  const jobs = studio.jobs.all();
  const hidden = new Set(studio.memento.get<string[]>(forgotten, []));
  const text = studio.memento.get<string>(lastText);
  const made = madeFrom(jobs, model.path).map(({ output }) => ({ path: output, label: output.split(/[/\\]/).at(-1)! }));
  return {
    header: model.header,
    canCompute: vscode.workspace.isTrusted,
    runs: await Promise.all(
      perplexityRuns(jobs, model)
        .filter(run => !hidden.has(run.id))
        .map(async run => {
          const job = studio.jobs.get(run.job);
          return { ...run, ...(job && (await isOlder(studio, job)) && { older: true }) };
        }),
    ),
    models: [{ path: model.path, label: model.header.label }, ...made],
    context: studio.memento.get(lastContext, 512),
    ...(text !== undefined && { text }),
  };
}
