/**
 * A plan carried out: every matrix decomposed under its option and written to its place in a packed checkpoint. Each
 * finished matrix is journalled, so the same request continues where a stopped one was.
 */
import { tensorSource } from '../checkpoint/sources';
import { callNative, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { gatherEncoded, type EncodeOne, type Encoding, type Gathering } from './encoded';
import { encodeInOrder, type SecondPass } from './second-pass';
import { createPackedOutput, type MatrixErrors, type PackedOutput, type PackedRecipe } from '../packed/writer';
import { isTokenRole } from '../logical/targets';
import { BUSY, overLanes, type ItemReport } from '../lanes';
import { lqOption, nativeOption } from '../options/native-option';
import { encodeDestination, lqDestination, type PackedLayout } from '../packed/layout';
import type { Metric } from '../sensitivity/metric';
import { lqParameters, usesLoop } from '../sensitivity/sweep';
import type { SweepTable } from '../sensitivity/types';

export interface DecompositionInput extends Encoding {
  /** Encodes in layer order, each matrix on what the encoded ones before it give. */
  readonly secondPass?: SecondPass;
  /** Bytes of the shards' headers, which the plan's bytes count. */
  readonly headers: readonly number[];
  /** Of the folder. */
  readonly readme: string;
  readonly out: string;
  readonly overwrite: boolean;
}

/** Relative errors of one matrix, ||W - W'|| / ||W|| under the metric. */
interface DecomposedMatrix {
  readonly name: string;
  /** Without the low-rank part, of an option that went through the LQ iteration. */
  readonly errorQuantized?: number;
  readonly errorLq: number;
  /** With the factors as stored. */
  readonly errorStored: number;
}

export interface Decomposition {
  readonly out: string;
  readonly files: string[];
  /** Bytes of the files of weights. */
  readonly bytes: number;
  readonly matrices: readonly DecomposedMatrix[];
}

/**
 * Writes the packed checkpoint of a plan. A run that ends early, for whatever reason, leaves its finished matrices in the
 * partial folder, and the same job continues from there. Errors: not-finite, disk-full, io, output-exists, out-of-memory,
 * cancelled.
 */
export async function decompose(context: PipelineContext, input: DecompositionInput): Promise<Decomposition> {
  const { index, table, plan, headers, out, overwrite } = input;
  const targets = plan.matrices.map(row => ({ name: row.name, option: row.option }));
  const output = await createPackedOutput(context, {
    source: index,
    targets,
    factors: plan.factors,
    headers,
    recipe: packedRecipe(context, input),
    readme: input.readme,
    out,
    overwrite,
    adopt: true,
  });
  try {
    const { bytes } = output.layout;
    if (bytes !== plan.bytes)
      throw new LqError('internal', `The files would have ${bytes} bytes, the plan says ${plan.bytes}.`);
    const { metric, secondPass: pass } = input;
    const { matrices: all } = output.layout;
    const gathering = gatherEncoded(context, input, encoderOf(input));
    if (pass === undefined) await decomposeAll(context, gathering, output, all);
    else {
      // The order is that of blocks; what is outside of them is encoded by itself.
      const tokens = new Set(table.matrices.filter(isTokenRole).map(({ name }) => name));
      const outer = all.filter(({ name }) => tokens.has(name));
      const inner = all.filter(({ name }) => !tokens.has(name));
      if (outer.length > 0) await decomposeAll(context, gathering, output, outer);
      await encodeInOrder(context, { index, metric, seed: table.recipe.seed, out, pass, matrices: inner }, output);
    }
    const norms = new Map(table.matrices.map(row => [row.name, row.weightedNorm]));
    const matrices = plan.matrices.map(({ name }) => relative(name, output.errors(name)!, norms.get(name)!));
    const finished = await output.finish();
    await gathering.release();
    return { ...finished, matrices };
  } catch (error) {
    await output.keep();
    throw error;
  }
}

/** How the matrices of a plan are encoded. */
export const encoderOf =
  ({ table, metric }: Encoding): EncodeOne =>
  (lane, matrix, report) =>
    decomposeOne(lane, table, metric, matrix, report);

async function decomposeAll(
  context: PipelineContext,
  gathering: Gathering,
  output: PackedOutput,
  matrices: PackedLayout['matrices'],
): Promise<void> {
  await overLanes(context, {
    stage: 'decompose',
    items: matrices,
    nameOf: ({ name }) => name,
    weightOf: ({ tensor }) => tensor.shape.reduce((product, size) => product * size, 1),
    async work(lane, matrix, report, patient) {
      if (output.isDone(matrix.name)) return undefined;
      await output.requireHeld();
      const errors = await gathering.place(lane, matrix, report, patient);
      if (errors === BUSY) return BUSY;
      await output.markDone(matrix.name, errors);
      return undefined;
    },
  });
}

/** Writes one matrix to its place: through the LQ iteration, or encoded. */
async function decomposeOne(
  lane: PipelineContext,
  { recipe }: SweepTable,
  metric: Metric,
  { name, tensor, option, source }: PackedLayout['matrices'][number],
  report: ItemReport,
): Promise<MatrixErrors> {
  const where = { file: tensor.file, tensor: name };
  const weight = tensorSource(tensor);
  const own = metric.of(name);
  const progress = (finished: number, all: number): void => report(finished / all);
  const looped = lqOption(option);
  if (source.kind === 'lq' && looped !== undefined && usesLoop(option, own)) {
    const parameters = lqParameters(recipe.loop, recipe.seed, own);
    const { trace, ...errors } = await callNative(
      lane,
      where,
      control => lane.native.decompose(lane.device, weight, looped, parameters, lqDestination(source), control),
      progress,
    );
    const { scale } = own;
    return {
      ...errors,
      cost: scale * errors.cost,
      storedCost: scale * errors.storedCost,
      quantizedCost: scale * errors.quantizedCost,
      trace: Array.from(trace, error => Math.sqrt(scale) * error),
    };
  }
  const errors = await callNative(
    lane,
    where,
    control =>
      lane.native.encode(
        lane.device,
        weight,
        nativeOption(option),
        { metric: own.native, seed: recipe.seed },
        encodeDestination(source),
        control,
      ),
    progress,
  );
  return { ...errors, cost: own.scale * errors.cost, storedCost: own.scale * errors.storedCost };
}

function relative(name: string, errors: MatrixErrors, norm: number): DecomposedMatrix {
  const share = (cost: number): number => (cost === 0 ? 0 : Math.sqrt(cost / norm));
  return {
    name,
    ...(errors.quantizedCost !== undefined && { errorQuantized: share(errors.quantizedCost) }),
    errorLq: share(errors.cost),
    errorStored: share(errors.storedCost),
  };
}

function packedRecipe(context: PipelineContext, { index, table, plan, secondPass }: DecompositionInput): PackedRecipe {
  return {
    source: {
      label: index.label,
      hash: context.digest(JSON.stringify(table.matrices.map(({ name, hash }) => [name, hash]))),
      parameters: index.parameters,
      bytes: index.bytes,
    },
    method: table.recipe,
    ...(secondPass !== undefined && {
      secondPass: {
        alpha: secondPass.alpha,
        windows: secondPass.windows.windows,
        context: secondPass.windows.context,
        tokens: context.digest(secondPass.windows.tokens.join()),
      },
    }),
    budget: plan.budget,
  };
}
