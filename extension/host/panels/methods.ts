import * as vscode from 'vscode';
import { methods as registry } from '../../core/options/methods/registry';
import type { Method } from '../../core/options/methods/method';
import { GENERAL_METHODS } from '../../core/options/consumers';
import { DEFAULTS } from '../../core/requests/defaults';
import type { MethodsView } from '../../protocol/panels';
import type { Job, JobOf } from '../model/jobs';
import type { Model } from '../model/models';
import { isOlder } from '../older';
import { jobSettings } from '../settings';
import type { Studio } from '../studio';
import { formOf } from './compress';
import type { Controller } from './controller';
import { modelOf, onModelChange } from './subject';

type Finished = JobOf<'methods'> & { result: NonNullable<JobOf<'methods'>['result']> };
const isFinished = (job: Job): job is Job & Finished =>
  job.method === 'methods' && job.status === 'done' && Boolean(job.result);

/** The methods panel: every published method on one checkpoint at equal exported bits. */
export const methods: Controller<'methods'> = ({ studio, target, emit, own }) => {
  const view = async () => viewOf(studio, await modelOf(studio, target));
  own(onModelChange(studio, target, async () => emit('changed', await view())));
  own({
    dispose: studio.jobs.onChange(job => {
      if (job.method === 'methods' && job.status === 'done') void view().then(changed => emit('changed', changed));
    }),
  });
  return {
    load: view,
    start: async request => {
      const model = await studio.models.open(request.model);
      const whole = { ...jobSettings(), ...request, model: model.path };
      return { job: studio.jobs.start('methods', whole, `Compare methods on ${model.header.label}`).id };
    },
  };
};

async function viewOf(studio: Studio, model: Model): Promise<MethodsView> {
  const jobs = studio.jobs.all().filter((job): job is Job & JobOf<'methods'> => job.method === 'methods');
  const own = jobs.filter(({ params }) => params.model === model.path);
  const finished = own.filter(isFinished);
  const current = await Promise.all(finished.map(async job => ((await isOlder(studio, job)) ? [] : [job])));
  return {
    header: model.header,
    canCompute: vscode.workspace.isTrusted,
    methods: GENERAL_METHODS.map(id => {
      const { label, source, description }: Method = registry[id];
      return { id, label, source, description };
    }),
    comparisons: current.flat().map(({ id, ended, created, params, result }) => ({
      job: id,
      date: ended ?? created,
      request: params,
      report: result,
    })),
    form: formFrom(own[0]?.params, studio, model),
  };
}

/** The last comparison's request, else what the compress form has. */
function formFrom(last: JobOf<'methods'>['params'] | undefined, studio: Studio, model: Model): MethodsView['form'] {
  const { calibration, evalText, samples, context, windows } = last ?? formOf(studio, model);
  return {
    effectiveBits: last?.effectiveBits ?? 3,
    samples: samples ?? DEFAULTS.samples,
    context: context ?? DEFAULTS.context,
    ...(windows !== undefined && { windows }),
    ...(calibration !== undefined && { calibration }),
    ...(evalText !== undefined && { evalText }),
  };
}
