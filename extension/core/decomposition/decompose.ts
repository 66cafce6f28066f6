/**
 * A plan carried out: every matrix decomposed under its option and written to its place in a packed checkpoint. Each
 * finished matrix is journalled, so the same request continues where a stopped one was.
 */
import type { Plan } from '../allocation/types';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import { callNative, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { joinPath } from '../files/paths';
import { forgetEncoded, placePieces, type Piece } from './encoded';
import { encodeInOrder, orderedPieces, type OrderedEncoding, type SecondPass } from './second-pass';
import { createPackedOutput, type MatrixErrors, type PackedRecipe } from '../packed/writer';
import { isTokenRole } from '../logical/targets';
import type { ItemReport } from '../lanes';
import { lqOption, nativeOption } from '../options/native-option';
import {
  encodeDestination,
  lqDestination,
  partsOf,
  planPackedLayout,
  withParts,
  type PackedLayout,
} from '../packed/layout';
import type { Metric } from '../sensitivity/metric';
import { lqParameters, usesLoop } from '../sensitivity/sweep';
import type { SweepTable } from '../sensitivity/types';
import { partialFolder } from '../storage/output';

/** What is encoded, and how. */
export interface Encoding {
  readonly index: CheckpointIndex;
  readonly table: SweepTable;
  readonly plan: Plan;
  /** The one the table was measured under. */
  readonly metric: Metric;
}

type Matrix = PackedLayout['matrices'][number];

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
    const { secondPass: pass } = input;
    const { matrices: all } = output.layout;
    const placing = {
      isDone: (name: string) => output.isDone(name),
      requireHeld: () => output.requireHeld(),
      markDone: (name: string, errors: MatrixErrors) => output.markDone(name, errors),
    };
    const { alone, ordered } = pass === undefined ? { alone: all, ordered: undefined } : inOrder(input, pass, all);
    const pieces = packedPieces(input, alone);
    await placePieces(context, { ...placing, stage: 'decompose', pieces });
    if (ordered !== undefined)
      await encodeInOrder(context, ordered, placing, joinPath(partialFolder(out), MOMENTS_FILE));
    const norms = new Map(table.matrices.map(row => [row.name, row.weightedNorm]));
    const matrices = plan.matrices.map(({ name }) => relative(name, output.errors(name)!, norms.get(name)!));
    const finished = await output.finish();
    await forgetEncoded(context, [...pieces, ...(ordered ? await orderedPieces(context, ordered) : [])]);
    return { ...finished, matrices };
  } catch (error) {
    await output.keep();
    throw error;
  }
}

/** The matrices of a plan in a layout that is none of an output's. */
export function matricesOf({ index, table, plan }: Encoding): readonly Matrix[] {
  const { factors, matrices } = plan;
  return planPackedLayout(index, matrices, { factors, seed: table.recipe.seed }, 'out').matrices;
}

/** Moments of an input, beside the output that is being written. */
export const MOMENTS_FILE = 'moments.tmp';

/** Which matrices of a plan are encoded in layer order: the order is that of blocks, what is outside of them is encoded by itself. */
export function inOrder(
  { index, table, plan, metric }: Encoding,
  pass: SecondPass,
  matrices: readonly Matrix[],
): { alone: Matrix[]; ordered: OrderedEncoding } {
  const tokens = new Set(table.matrices.filter(isTokenRole).map(({ name }) => name));
  const { seed } = table.recipe;
  const inner = matrices.filter(({ name }) => !tokens.has(name));
  return {
    alone: matrices.filter(({ name }) => tokens.has(name)),
    ordered: { index, metric, seed, factors: plan.factors, pass, matrices: inner },
  };
}

/** Matrices of a plan, wherever their layout is, as several processes can encode them. */
export function packedPieces(encoding: Encoding, matrices: readonly Matrix[]): Piece<MatrixErrors>[] {
  const { table, plan, metric } = encoding;
  const rowOf = new Map(table.matrices.map(row => [row.name, row]));
  const { loop, seed, metric: recipe } = table.recipe;
  return matrices.map(matrix => {
    const { name, option, tensor } = matrix;
    const row = rowOf.get(name);
    if (row === undefined) throw new LqError('internal', `The plan's ${name} is not in the table.`, { tensor: name });
    const { hash, rows, cols } = row;
    return {
      name,
      weights: tensor.shape.reduce((product, size) => product * size, 1),
      key: {
        ...{ format: 'packed', dtype: tensor.dtype, hash, rows, cols, option, factors: plan.factors, loop, seed },
        metric: { ...recipe, statistics: metric.of(name).hash },
      },
      parts: partsOf(matrix),
      encode: (lane, parts, report) => decomposeOne(lane, table, metric, withParts(matrix, parts), report),
    };
  });
}

/** Writes one matrix to its place: through the LQ iteration, or encoded. */
async function decomposeOne(
  lane: PipelineContext,
  { recipe }: SweepTable,
  metric: Metric,
  { name, tensor, option, source }: Matrix,
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
