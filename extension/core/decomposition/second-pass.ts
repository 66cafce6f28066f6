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
import { filesHash, tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import {
  arithmeticOf,
  callNative,
  nativeError,
  nativePrecision,
  stageReporter,
  type PipelineContext,
} from '../context';
import { LqError } from '../errors';
import { describeModel, forWindows, requireMask, type ModelDescription } from '../evaluation/language-model';
import { EVALUATION_VERSION } from '../evaluation/text';
import { BLOCK_INPUTS, inputKey, inputOf } from '../evaluation/weights';
import type { Windows } from '../evaluation/windows';
import { BUSY, type ItemReport } from '../lanes';
import type { ByteRange, DenseSource, InputPlace, NativeLayerPass, WeightPlace, WeightSource } from '../native';
import { nativeOption } from '../options/native-option';
import type { FactorStorage } from '../options/types';
import { encodeDestination, partsOf, withParts, type PackedLayout } from '../packed/layout';
import type { MatrixErrors } from '../packed/writer';
import type { Progress } from '../progress';
import type { Metric } from '../sensitivity/metric';
import type { Shard } from '../shards';
import {
  apart,
  counted,
  encodeApart,
  findApart,
  place,
  scratchFile,
  takeEncoded,
  type EncodedShare,
  type Piece,
  type Placing,
} from './encoded';

export interface SecondPass {
  readonly windows: Windows;
  readonly alpha: number;
}

type Matrix = PackedLayout['matrices'][number];

/** What is encoded in layer order. */
export interface OrderedEncoding {
  readonly index: CheckpointIndex;
  readonly metric: Metric;
  readonly seed: number;
  readonly factors: FactorStorage;
  readonly pass: SecondPass;
  /** Of blocks, under the plan's options, in whatever layout. */
  readonly matrices: readonly Matrix[];
}

/** A matrix of a block and the input that it reads. */
interface Member {
  readonly input: InputPlace;
  readonly place: WeightPlace;
  readonly matrix: Matrix;
}

/** Matrices of one layer none of which depends on another's encoding: they wait for the steps before alone. */
interface Step {
  readonly layer: number;
  readonly members: readonly Member[];
}

/**
 * Encodes every one of these matrices that the output does not have: where workers encoded it, it is taken from them, and only what
 * is left needs the network. Progress counts weights.
 * @param moments file for moments of inputs, made and removed
 * @throws LqError 'unsupported-model' for a matrix that is not a block's, 'not-finite', 'disk-full', 'io', 'cancelled'.
 */
export async function encodeInOrder(
  context: PipelineContext,
  job: OrderedEncoding,
  output: Omit<Placing<MatrixErrors>, 'stage' | 'pieces'>,
  moments: string,
): Promise<void> {
  const walk = await prepareWalk(context, job, moments);
  const { steps, pieceOf } = walk;
  const pieces = steps.flatMap(({ members }) => members.map(pieceOf));
  await takeEncoded(context, { ...output, stage: 'decompose', pieces });
  await walk.through(
    ({ members }) => members.some(({ matrix }) => !output.isDone(matrix.name)),
    async ({ members }, report, replace) => {
      for (const member of members) {
        const { name, source } = member.matrix;
        if (!output.isDone(name)) {
          await output.requireHeld();
          const errors = await place(context, pieceOf(member), share => report(member, share), true);
          if (errors === BUSY) throw new LqError('internal', `${name} was not waited for.`, { tensor: name });
          await output.markDone(name, errors);
        }
        report(member, 1);
        await replace(member, source);
      }
    },
  );
}

/**
 * One worker's part of it: of each step the matrices that no other worker has encoded or is at, while the others' are waited for.
 * Every worker takes the texts through the network itself. More workers than a step has matrices have nothing to do.
 * Errors: those of `encodeInOrder`.
 */
export async function encodeShardInOrder(
  context: PipelineContext,
  job: OrderedEncoding,
  shard: Shard,
): Promise<EncodedShare> {
  const { matrices } = job;
  const walk = await prepareWalk(context, job);
  const { steps, pieceOf } = walk;
  const computed: string[] = [];
  const entries = new Map<string, string>();
  const shareOf = (): EncodedShare => ({
    computed,
    found: entries.size - computed.length,
    left: matrices.length - entries.size,
  });
  for (const { members } of steps)
    for (const member of members) {
      const file = await findApart(context, pieceOf(member));
      if (file === undefined) continue;
      entries.set(member.matrix.name, file);
      context.post?.done('found');
    }
  if (shard.index >= Math.max(...steps.map(({ members }) => members.length))) return shareOf();
  await walk.through(
    ({ members }) => members.some(({ matrix }) => !entries.has(matrix.name)),
    async ({ members }, report, replace) => {
      const first = shard.index % members.length;
      const order = [...members.slice(first), ...members.slice(0, first)];
      for (const patient of [false, true])
        for (const member of order.filter(({ matrix }) => !entries.has(matrix.name))) {
          const { name } = member.matrix;
          const tell: ItemReport = (share, extra) => report(member, share, extra);
          const entry = await encodeApart(context, counted(pieceOf(member), computed), tell, patient);
          if (entry === undefined) continue;
          entries.set(name, entry.file);
          context.post?.done(computed.includes(name) ? 'computed' : 'found');
        }
      for (const member of members) {
        const { parts } = apart(pieceOf(member), entries.get(member.matrix.name)!);
        report(member, 1);
        await replace(member, withParts(member.matrix, parts).source);
      }
    },
  );
  return shareOf();
}

/** The matrices as several processes encode them, to find what they encoded. */
export async function orderedPieces(context: PipelineContext, job: OrderedEncoding): Promise<Piece<MatrixErrors>[]> {
  const { steps, pieceOf } = await prepareWalk(context, job);
  return steps.flatMap(({ members }) => members.map(pieceOf));
}

const weightsOf = ({ tensor }: Matrix): number => tensor.shape.reduce((product, size) => product * size, 1);

type StepReport = (member: Member, share: number, extra?: Pick<Progress, 'waitingFor'>) => void;

interface Walk {
  /** In the order in which the network reads its inputs. */
  readonly steps: readonly Step[];
  /** To be encoded within `through` only, when its step has come. */
  pieceOf(member: Member): Piece<MatrixErrors>;
  /**
   * Takes the texts through the network as far as there is a step that `needs` it, and hands over each step up to there: `visit`
   * replaces its matrices.
   */
  through(
    needs: (step: Step) => boolean,
    visit: (
      step: Step,
      report: StepReport,
      replace: (member: Member, source: WeightSource) => Promise<void>,
    ) => Promise<void>,
  ): Promise<void>;
}

/** @param scratch file for moments; default one beside the entries that workers share */
async function prepareWalk(context: PipelineContext, job: OrderedEncoding, scratch?: string): Promise<Walk> {
  const { index, matrices, pass } = job;
  const model = forWindows(describeModel(index), pass.windows);
  requireMask(model);
  const steps = stepsOf(model, matrices);
  const order = await orderHash(context, job);
  const sum = matrices.reduce((weights, matrix) => weights + weightsOf(matrix), 0);
  let moments: Moments | undefined;
  const pieceOf = ({ input, matrix }: Member): Piece<MatrixErrors> => ({
    name: matrix.name,
    weights: weightsOf(matrix),
    key: { format: 'packed', order, name: matrix.name },
    parts: partsOf(matrix),
    async encode(lane, parts, report) {
      if (moments === undefined) throw new LqError('internal', 'Moments were asked for outside of the pass.');
      const measured = await moments.of(input, matrix.tensor.shape[1]!);
      return encodeOne(lane, job, withParts(matrix, parts), measured, report);
    },
  });
  return {
    steps,
    pieceOf,
    async through(needs, visit) {
      const last = Math.max(...steps.filter(needs).map(({ layer }) => layer), -1);
      if (last < 0) return;
      const [first] = steps[0]!.members;
      const file = scratch ?? (await scratchFile(context, pieceOf(first!)));
      const progress = stageReporter(context, 'decompose', sum);
      const shares = new Map<string, number>();
      const report: StepReport = ({ matrix }, share, extra) => {
        shares.set(matrix.name, share * weightsOf(matrix));
        const done = [...shares.values()].reduce((weights, each) => weights + each, 0);
        progress(done, { item: matrix.name, ...extra });
      };
      const stream = await open(context, model, pass.windows);
      moments = new Moments(context, stream, file, model.file);
      try {
        for (let layer = 0; layer <= last; layer++) {
          for (const step of steps.filter(each => each.layer === layer))
            await visit(step, report, ({ place: at }, source) =>
              call(context, model.file, control => stream.replace(at, source, control)),
            );
          if (layer < last) await call(context, model.file, control => stream.advance(layer, control));
        }
      } finally {
        stream.close();
        await context.files.remove(file);
      }
    },
  };
}

/** Moments of the input in hand. */
class Moments {
  private key: string | undefined;

  constructor(
    private readonly context: PipelineContext,
    private readonly stream: NativeLayerPass,
    private readonly scratch: string,
    /** The model's, for errors. */
    private readonly file: string,
  ) {}

  /** @param size of the input */
  async of(input: InputPlace, size: number): Promise<{ secondMoment: DenseSource; cross: DenseSource }> {
    const { context, stream, scratch, file } = this;
    const bytes = 4 * size * size;
    const square = (at: number): DenseSource => ({
      ...{ kind: 'dense', path: scratch, offset: at, dtype: 'F32', rows: size, cols: size },
    });
    const range = (at: number): ByteRange => ({ path: scratch, offset: at, bytes });
    if (this.key !== inputKey(input)) {
      await context.files.allocate(scratch, 2 * bytes, new Uint8Array());
      const places = { secondMoment: range(0), cross: range(bytes) };
      await call(context, file, control => stream.moments(input, places, control));
      this.key = inputKey(input);
    }
    return { secondMoment: square(0), cross: square(bytes) };
  }
}

async function encodeOne(
  lane: PipelineContext,
  { metric, seed, pass }: OrderedEncoding,
  { name, tensor, option, source }: Matrix,
  { secondMoment, cross }: { secondMoment: DenseSource; cross: DenseSource },
  report: ItemReport,
): Promise<MatrixErrors> {
  const own = metric.of(name);
  if (own.native.kind === 'fisher')
    throw new LqError('internal', 'The second pass works under K-FAC.', { tensor: name });
  // Of an expert that no token reached nothing is measured: it is encoded by itself.
  const parameters =
    own.native.kind === 'plain'
      ? { metric: own.native, seed }
      : { metric: { ...own.native, secondMoment }, seed, correction: { cross, alpha: pass.alpha } };
  const errors = await callNative(
    lane,
    { file: tensor.file, tensor: name },
    control =>
      lane.native.encode(
        lane.device,
        tensorSource(tensor),
        nativeOption(option),
        parameters,
        encodeDestination(source),
        control,
      ),
    (finished, all) => report(finished / all),
  );
  return { ...errors, cost: own.scale * errors.cost, storedCost: own.scale * errors.storedCost };
}

/** Everything that an encoding in layer order depends on, for any of its matrices. */
async function orderHash(
  context: PipelineContext,
  { index, metric, seed, factors, pass, matrices }: OrderedEncoding,
): Promise<string> {
  const { windows, alpha } = pass;
  const inputs = {
    version: EVALUATION_VERSION,
    arithmetic: arithmeticOf(context),
    source: await filesHash(context, index),
    config: index.config,
    windows: [windows.context, windows.mask, windows.tokens.join()],
    matrices: matrices.map(({ name, option }) => [name, option, metric.of(name).hash]),
    metric: metric.recipe,
    ...{ seed, factors, alpha },
  };
  return context.digest(JSON.stringify(inputs));
}

/** Steps in the order in which the network reads its inputs; members with one input stand together. */
function stepsOf(model: ModelDescription, matrices: readonly Matrix[]): Step[] {
  const places = new Map(model.weights.map(({ name, source: _, ...place }): [string, WeightPlace] => [name, place]));
  const ranks = [...new Set(BLOCK_INPUTS.values())];
  const steps = new Map<string, { layer: number; rank: number; members: Member[] }>();
  for (const matrix of matrices) {
    const place = places.get(matrix.name);
    const input = place && inputOf(place);
    if (place === undefined || input === undefined)
      throw new LqError('unsupported-model', `${matrix.name} is not a matrix of a block; leave it out.`, {
        file: model.file,
        tensor: matrix.name,
      });
    const { layer } = input;
    const rank = ranks.indexOf(input.input);
    const key = `${layer} ${rank}`;
    const step = steps.get(key) ?? { layer, rank, members: [] };
    step.members.push({ input, place, matrix });
    steps.set(key, step);
  }
  for (const { members } of steps.values()) members.sort((a, b) => (a.input.expert ?? -1) - (b.input.expert ?? -1));
  return [...steps.values()].sort((a, b) => a.layer - b.layer || a.rank - b.rank);
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
