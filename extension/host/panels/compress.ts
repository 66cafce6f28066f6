import { targetOf } from '../../core/export/targets';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import { CONSUMER_IDS, consumers, GENERAL_METHODS, type Consumer } from '../../core/options/consumers';
import type { Method } from '../../core/options/methods/method';
import { METHOD_IDS, methods } from '../../core/options/methods/registry';
import { DEFAULTS } from '../../core/requests/defaults';
import type { DeviceReport } from '../../protocol/engine';
import type { CompressRequest } from '../../core/requests/requests';
import type { CompressView, MethodChoice, TargetChoice } from '../../protocol/panels';
import { targetMatrices } from '../model/header';
import type { Job, JobOf, JobStatus } from '../model/jobs';
import type { Model } from '../model/models';
import { firstForm, jobState, outputBeside, targetsOrNone } from '../model/outcome';
import type { Controller } from './controller';
import { defaults, jobSettings } from '../settings';
import type { Studio } from '../studio';
import { sweepFile } from '../sweeps';
import { standingOf, startFolder } from './common';
import { modelOf, onModelChange } from './subject';

/** The compress panel: one form, then the job it started, then what came of it. */
export const compress: Controller<'compress'> = ({ studio, target, emit, own }) => {
  const open = () => modelOf(studio, target);
  const state = async (job: Job & JobOf<'compress'>) => jobState(job, await standingOf(studio, job));
  const changed = async () => emit('changed', await viewOf(studio, await open()));
  const report = (error: unknown) => studio.output.warn(`A panel could not follow: ${LqError.from(error).message}`);

  const statuses = new Map<string, JobStatus | undefined>();
  own({
    dispose: studio.jobs.onChange(job => {
      if (!isCompression(job) || job.params.model !== target.model) return;
      const known = studio.jobs.get(job.id);
      // The pace of progress is no reason to send everything.
      if (known) void state(job).then(now => emit('job', now), report);
      if (statuses.get(job.id) !== known?.status) void changed().catch(report);
      statuses.set(job.id, known?.status);
    }),
  });
  own(onModelChange(studio, target, changed));
  if (target.model !== undefined) own(studio.compressions.onAsk(target.model, show => emit('show', show)));

  return {
    load: async () => {
      const show = target.model === undefined ? undefined : studio.compressions.take(target.model);
      return { ...(await viewOf(studio, await open())), ...(show && { show }) };
    },
    estimate: (request, { signal }) => studio.engine.request('estimate', withSettings(request), { signal }),
    match: async ({ include, exclude }) => {
      const targets = targetMatrices((await open()).tensors, include, exclude);
      const parameters = targets.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
      return { names: targets.map(({ name }) => name), parameters };
    },
    start: async request => {
      const model = await open();
      const whole = {
        ...withSettings(request),
        out: path.resolve(path.dirname(outputBeside(model, 'lq', startFolder())), request.out),
        sweepOut: await sweepFile(studio, model, request),
      };
      await keepForm(studio, model, request);
      const job = studio.jobs.start('compress', whole, `Compress ${model.header.label}`);
      return state(job);
    },
  };
};

const formKey = (model: Model): string => `lqStudio.form:${model.path}`;
const isCompression = (job: Job): job is Job & JobOf<'compress'> => job.method === 'compress';

/** What the form says wins over the settings. */
const withSettings = (request: CompressRequest): CompressRequest => ({ ...jobSettings(), ...request });

/** The form as it was last used for a checkpoint, else as the settings have it. */
export function formOf(studio: Studio, model: Model): CompressRequest {
  const first = firstForm(model, defaults(vscode.Uri.file(model.file)), startFolder());
  const last = studio.memento.get<CompressRequest>(formKey(model));
  return { ...(last ?? first), model: model.path };
}

/** Lets the form begin with something else, such as a plan found with the slider. */
export async function keepForm(studio: Studio, model: Model, change: Partial<CompressRequest>): Promise<void> {
  await studio.memento.update(formKey(model), { ...formOf(studio, model), ...change });
}

async function viewOf(studio: Studio, model: Model): Promise<CompressView> {
  const canCompute = vscode.workspace.isTrusted;
  const jobs = studio.jobs.all().filter(isCompression);
  return {
    header: model.header,
    canCompute,
    targets: targetsOrNone(model.tensors),
    devices: canCompute ? await devicesOf(studio) : [],
    consumers: targetChoices(),
    methods: methodChoices(),
    paper: paperOf(model),
    form: formOf(studio, model),
    jobs: await Promise.all(
      jobs
        .filter(({ params }) => params.model === model.path)
        .map(async job => jobState(job, await standingOf(studio, job))),
    ),
  };
}

/** Every format that a compression can write, as the registries list them. */
function targetChoices(): TargetChoice[] {
  const usual = [DEFAULTS.method, ...GENERAL_METHODS.filter(id => id !== DEFAULTS.method)];
  const listed = CONSUMER_IDS.map(id => {
    const { label, readers, methods: own }: Consumer = consumers[id];
    const request = { for: id };
    return { id, label, readers, request, methods: own ? [...own] : usual, ...embeddingsOf(request) };
  });
  const dense = {
    id: 'dense',
    label: 'Dense weights',
    readers: 'transformers, vLLM',
    request: { format: 'dense' } as const,
  };
  return [...listed, { ...dense, methods: usual, ...embeddingsOf(dense.request) }];
}

const embeddingsOf = (request: TargetChoice['request']): Pick<TargetChoice, 'embeddings'> => ({
  embeddings: targetOf(request).embeddings,
});

const methodChoices = (): MethodChoice[] =>
  METHOD_IDS.map(id => {
    const { label, description, source, settings, metrics, secondPass }: Method = methods[id];
    return { id, label, description, source, ranked: settings.includes('ranks'), metrics: [...metrics], secondPass };
  });

/** What the settings say of the paper's method. */
function paperOf(model: Model): CompressView['paper'] {
  const { rank, grid } = defaults(vscode.Uri.file(model.file));
  return { ranks: [rank], ...(grid && { grid }) };
}

/** The form is useful without them: the engine's failure is told by its own event. */
async function devicesOf(studio: Studio): Promise<DeviceReport[]> {
  try {
    return (await studio.engine.request('doctor', jobSettings())).devices;
  } catch (error) {
    studio.output.warn(`Devices are not known: ${LqError.from(error).message}`);
    return [];
  }
}
