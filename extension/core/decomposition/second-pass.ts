/**
 * The second pass: the plan's matrices encoded in layer order, each on the inputs that the already encoded prefix gives and
 * towards a target that makes up for the prefix's error (asymmetric calibration as in GPTAQ, arXiv 2504.02692, and QEP,
 * arXiv 2504.09629):
 *
 *   H = E[x_q x_q^T],   W* = W + alpha W E[(x_f - x_q) x_q^T] (H + damping mean(diag H) I)^-1
 *
 * with x_f the dense model's input and x_q the encoded prefix's. Same options, same bytes, same row weights. Layer after
 * layer is journalled matrix by matrix; a resumed pass takes what is written through the network and goes on.
 */
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import { callNative, nativeError, nativePrecision, stageReporter, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { describeModel, forWindows, requireMask, type ModelDescription } from '../evaluation/language-model';
import { BLOCK_INPUTS, inputKey, inputOf } from '../evaluation/weights';
import type { Windows } from '../evaluation/windows';
import { joinPath } from '../files/paths';
import type { ByteRange, DenseSource, InputPlace, NativeLayerPass, WeightPlace } from '../native';
import { nativeOption } from '../options/native-option';
import { encodeDestination, type PackedLayout } from '../packed/layout';
import type { PackedOutput } from '../packed/writer';
import type { Metric } from '../sensitivity/metric';
import { partialFolder } from '../storage/output';

/** Moments of the input in hand, beside the output that is being written. */
const MOMENTS_FILE = 'moments.tmp';

export interface SecondPass {
  readonly windows: Windows;
  readonly alpha: number;
}

type Matrix = PackedLayout['matrices'][number];

/** The matrices that read one input of one layer. */
interface Group {
  readonly input: InputPlace;
  readonly members: readonly { readonly place: WeightPlace; readonly matrix: Matrix }[];
}

/**
 * Encodes every one of these matrices of `output` that is not done. Progress counts weights.
 * @throws LqError 'unsupported-model' for a matrix that is not a block's, 'not-finite', 'disk-full', 'io', 'cancelled'.
 */
export async function encodeInOrder(
  context: PipelineContext,
  {
    index,
    metric,
    seed,
    out,
    pass,
    matrices,
  }: {
    index: CheckpointIndex;
    metric: Metric;
    seed: number;
    out: string;
    pass: SecondPass;
    matrices: readonly Matrix[];
  },
  output: PackedOutput,
): Promise<void> {
  const model = forWindows(describeModel(index), pass.windows);
  requireMask(model);
  const groups = groupsOf(model, matrices);
  const weigh = (group: Group): number => group.members.reduce((sum, { matrix }) => sum + weightsOf(matrix), 0);
  const report = stageReporter(
    context,
    'decompose',
    groups.reduce((sum, group) => sum + weigh(group), 0),
  );
  const moments = joinPath(partialFolder(out), MOMENTS_FILE);
  const last = Math.max(...groups.filter(group => !isDone(group, output)).map(({ input }) => input.layer), -1);
  const stream = await open(context, model, pass.windows);
  let done = 0;
  try {
    for (let layer = 0; layer <= last; layer++) {
      for (const group of groups.filter(each => each.input.layer === layer)) {
        await encodeGroup(
          context,
          { group, stream, metric, seed, moments, alpha: pass.alpha, file: model.file },
          output,
          {
            begun: name => report(done, { item: name }),
            share: (matrix, share) => report(done + share * weightsOf(matrix), { item: matrix.name }),
            ended: matrix => report((done += weightsOf(matrix)), { item: matrix.name }),
          },
        );
      }
      if (layer < last) await call(context, model.file, control => stream.advance(layer, control));
    }
  } finally {
    stream.close();
    await context.files.remove(moments);
  }
}

const weightsOf = ({ tensor }: Matrix): number => tensor.shape.reduce((product, size) => product * size, 1);
const isDone = ({ members }: Group, output: PackedOutput): boolean =>
  members.every(({ matrix }) => output.isDone(matrix.name));

interface GroupJob {
  readonly group: Group;
  readonly stream: NativeLayerPass;
  readonly metric: Metric;
  readonly seed: number;
  readonly moments: string;
  readonly alpha: number;
  /** The model's, for errors. */
  readonly file: string;
}
interface GroupProgress {
  begun(name: string): void;
  share(matrix: Matrix, share: number): void;
  ended(matrix: Matrix): void;
}

async function encodeGroup(
  context: PipelineContext,
  { group, stream, metric, seed, moments, alpha, file }: GroupJob,
  output: PackedOutput,
  progress: GroupProgress,
): Promise<void> {
  const { input, members } = group;
  let measured: { secondMoment: DenseSource; cross: DenseSource } | undefined;
  if (!isDone(group, output)) {
    progress.begun(members[0]!.matrix.name);
    const size = members[0]!.matrix.tensor.shape[1]!;
    const square = (at: number): DenseSource => ({
      ...{ kind: 'dense', path: moments, offset: at, dtype: 'F32', rows: size, cols: size },
    });
    const bytes = 4 * size * size;
    const range = (at: number): ByteRange => ({ path: moments, offset: at, bytes });
    await context.files.allocate(moments, 2 * bytes, new Uint8Array());
    const places = { secondMoment: range(0), cross: range(bytes) };
    await call(context, file, control => stream.moments(input, places, control));
    measured = { secondMoment: square(0), cross: square(bytes) };
  }
  for (const { place, matrix } of members) {
    const { name, tensor, option, source } = matrix;
    if (measured !== undefined && !output.isDone(name)) {
      const own = metric.of(name);
      if (own.native.kind === 'fisher')
        throw new LqError('internal', 'The second pass works under K-FAC.', { tensor: name });
      // Of an expert that no token reached nothing is measured: it is encoded by itself.
      const parameters =
        own.native.kind === 'plain'
          ? { metric: own.native, seed }
          : {
              metric: { ...own.native, secondMoment: measured.secondMoment },
              seed,
              correction: { cross: measured.cross, alpha },
            };
      const errors = await callNative(
        context,
        { file: tensor.file, tensor: name },
        control =>
          context.native.encode(
            context.device,
            tensorSource(tensor),
            nativeOption(option),
            parameters,
            encodeDestination(source),
            control,
          ),
        (finished, all) => progress.share(matrix, finished / all),
      );
      await output.markDone(name, {
        ...errors,
        cost: own.scale * errors.cost,
        storedCost: own.scale * errors.storedCost,
      });
    }
    await call(context, file, control => stream.replace(place, source, control));
    progress.ended(matrix);
  }
}

/** Groups in the order the network reads its inputs. */
function groupsOf(model: ModelDescription, matrices: readonly Matrix[]): Group[] {
  const places = new Map(model.weights.map(({ name, source: _, ...place }): [string, WeightPlace] => [name, place]));
  const groups = new Map<string, { input: InputPlace; members: { place: WeightPlace; matrix: Matrix }[] }>();
  for (const matrix of matrices) {
    const place = places.get(matrix.name);
    const input = place && inputOf(place);
    if (place === undefined || input === undefined)
      throw new LqError('unsupported-model', `${matrix.name} is not a matrix of a block; leave it out.`, {
        file: model.file,
        tensor: matrix.name,
      });
    const group = groups.get(inputKey(input)) ?? { input, members: [] };
    group.members.push({ place, matrix });
    groups.set(inputKey(input), group);
  }
  const order = [...new Set(BLOCK_INPUTS.values())];
  const rank = ({ input }: Group): number => order.indexOf(input.input);
  return [...groups.values()].sort(
    (a, b) => a.input.layer - b.input.layer || rank(a) - rank(b) || (a.input.expert ?? -1) - (b.input.expert ?? -1),
  );
}

async function open(context: PipelineContext, model: ModelDescription, windows: Windows): Promise<NativeLayerPass> {
  const { config, weights, file } = model;
  try {
    return await context.native.openLayerPass(
      context.device,
      { ...config, ...nativePrecision(context) },
      [...weights],
      windows.tokens,
      windows.context,
    );
  } catch (error) {
    throw nativeError(error, { file });
  }
}

const call = (context: PipelineContext, file: string, work: Parameters<typeof callNative<void>>[2]): Promise<void> =>
  callNative(context, { file }, work);
