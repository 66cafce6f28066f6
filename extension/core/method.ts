/** What a request chooses to compress with: options, the metric they are chosen under, and whether there is a second pass. */
import { LqError } from './errors';
import type { FileSystem } from './files/types';
import { openCheckpoint } from './logical/open';
import type { Budget } from './options/budget';
import { methodFor, type ConsumerId } from './options/consumers';
import { methodOptions, methods, type MethodId } from './options/methods/registry';
import type { Method } from './options/methods/method';
import { optionKey } from './options/option';
import type { MetricKind } from './options/recipe';
import type { Option } from './options/types';
import { DEFAULTS } from './requests/defaults';
import type { MethodRequest } from './requests/requests';
import { CALIBRATION_FORMAT } from './sensitivity/calibration-file';
import { isImportanceMatrix } from './sensitivity/imatrix';

/** What errors can be weighed with: a text to compute statistics of, or a file of them. */
export interface Statistics {
  readonly calibration?: string;
  readonly fisher?: string;
  readonly plain?: boolean;
}

export interface ChosenMethod {
  readonly id: MethodId;
  readonly label: string;
  readonly options: readonly Option[];
  /** Those of them that an embedding or a head alone can take, by key. */
  readonly tokenOptions: ReadonlySet<string>;
  readonly metric: MetricKind;
  /** Share of the prefix's error that the second pass makes up for; undefined: there is none. */
  readonly alpha?: number;
  /** What the request did not say and a user should know, one sentence each. */
  readonly notes: readonly string[];
}

/** What the options of a request follow from. */
type Choice = MethodRequest & {
  readonly budget?: Budget | undefined;
  readonly for?: ConsumerId;
  readonly embeddings?: boolean;
};

const methodOf = ({ for: consumer = 'packed', method }: Choice): MethodId =>
  methodFor(consumer, method, DEFAULTS.method);

/**
 * The options of a request: those of its method. Where the budget counts low-rank factors, the LQ iteration's options are
 * there without them too, so that factors are stored where they earn their bytes.
 * @throws LqError 'usage' for what the method does not have.
 */
export function optionsOf(request: Choice): Option[] {
  return [...blockOptions(request), ...tokenOptionsOf(request)];
}

/** Options that embedding and head have beyond those of all matrices. */
function tokenOptionsOf(request: Choice): Option[] {
  if (request.embeddings !== true) return [];
  const { tokenOptions = [] }: Method = methods[methodOf(request)];
  const known = new Set(blockOptions(request).map(optionKey));
  return tokenOptions.filter(option => !known.has(optionKey(option)));
}

function blockOptions(request: Choice): Option[] {
  const { ranks, grid, states, tailBiting, budget } = request;
  const method = methodOf(request);
  const options = methodOptions(method, {
    ...(ranks !== undefined && { ranks }),
    ...(grid !== undefined && { grid }),
    ...(states !== undefined && { states }),
    ...(tailBiting !== undefined && { tailBiting }),
  });
  if (method !== 'lq-lora' || budget === undefined || budget.kind === 'bits') return options;
  const all = [...options, ...options.map(option => ({ ...option, rank: 0 }))];
  return [...new Map(all.map(option => [optionKey(option), option])).values()];
}

/**
 * Resolves method, metric and second pass. Nothing is computed; a statistics file's header is read.
 * @throws LqError 'usage' for a metric that the method or the statistics do not have, and those of `methodFor`.
 */
export async function chooseMethod(
  files: FileSystem,
  request: Choice & Statistics & { secondPass?: boolean; alpha?: number },
): Promise<ChosenMethod> {
  const id = methodOf(request);
  const method: Method = methods[id];
  const options = optionsOf(request);
  const available = await metricsOf(files, request);
  const metric = request.metric ?? method.metrics.find(each => available.includes(each));
  if (metric === undefined || !method.metrics.includes(metric))
    throw new LqError(
      'usage',
      `${method.label} is chosen under ${method.metrics.join(' or ')}` +
        (metric === undefined ? ', which needs a calibration text or its statistics.' : `, not ${metric}.`),
    );
  if (!available.includes(metric))
    throw new LqError(
      'usage',
      `The metric ${metric} needs ${metric === 'plain' ? 'no statistics' : 'a calibration text or its statistics'}.`,
    );
  const possible = metric === 'kfac' && request.calibration !== undefined;
  if (request.secondPass === true && !possible)
    throw new LqError('usage', 'The second pass works under the metric kfac and needs a calibration text.');
  const pass = request.secondPass ?? method.secondPass;
  const notes = [
    ...(metric === 'plain' && method.metrics[0] !== 'plain' && request.plain !== true
      ? ['Errors are not weighed: without a calibration text nothing is known of what they do to the model.']
      : []),
    ...(pass && !possible && request.plain !== true
      ? ['There is no second pass: it works under the metric kfac and needs a calibration text.']
      : []),
  ];
  return {
    id,
    label: method.label,
    options,
    tokenOptions: new Set(tokenOptionsOf(request).map(optionKey)),
    metric,
    ...(pass && possible && { alpha: request.alpha ?? ALPHA }),
    notes,
  };
}

/** Share of the prefix's error that a target makes up for: on the sample models never worse than none. */
const ALPHA = 0.5;

/** The metrics there are statistics for. */
async function metricsOf(files: FileSystem, { calibration, fisher }: Statistics): Promise<MetricKind[]> {
  if (calibration !== undefined) return ['kfac', 'fisher', 'plain'];
  if (fisher === undefined) return ['plain'];
  if (await isImportanceMatrix(files, fisher)) return ['kfac'];
  const { shards, tensors } = await openCheckpoint(files, fisher);
  if (shards[0]?.metadata['format'] !== CALIBRATION_FORMAT) return ['fisher'];
  const names = new Set(tensors.map(({ name }) => name));
  const elementwise = tensors.some(({ name }) => names.has(`${name}.fisher_row_mean`));
  return ['kfac', ...(elementwise ? (['fisher'] as const) : [])];
}
