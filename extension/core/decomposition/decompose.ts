/**
 * A plan carried out: every matrix decomposed under its option and written to its place in a packed checkpoint. Each
 * finished matrix is journalled, so the same request continues where a stopped one was.
 */
import type { Plan } from '../allocation/types';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import { callNative, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { createPackedOutput, type MatrixErrors, type PackedOutput, type PackedRecipe } from '../packed/writer';
import { overLanes } from '../lanes';
import { lqParameters, nativeOption } from '../sensitivity/sweep';
import type { FisherSource, SweepTable } from '../sensitivity/types';

export interface DecompositionInput {
  readonly index: CheckpointIndex;
  readonly table: SweepTable;
  readonly plan: Plan;
  /** Required when the table is weighted. */
  readonly fisher?: FisherSource;
  readonly out: string;
  readonly overwrite: boolean;
}

/** Relative errors of one matrix, ||W - W'|| / ||W||, weighted when the sweep was. */
export interface DecomposedMatrix {
  readonly name: string;
  readonly errorQuantized: number;
  readonly errorLq: number;
  /** With the factors as stored. */
  readonly errorStored: number;
}

export interface Decomposition {
  readonly out: string;
  readonly files: string[];
  /** Tensor bytes written. */
  readonly bytes: number;
  readonly matrices: readonly DecomposedMatrix[];
}

/**
 * Writes the packed checkpoint of a plan. A cancelled run leaves its partial folder to be continued; any other failure
 * removes it. Errors: not-finite, disk-full, io, output-exists, out-of-memory, cancelled.
 */
export async function decompose(context: PipelineContext, input: DecompositionInput): Promise<Decomposition> {
  const { index, table, plan, out, overwrite } = input;
  const targets = plan.matrices.map(row => ({ name: row.name, option: table.options[row.option]! }));
  const output = await createPackedOutput(context, {
    source: index,
    targets,
    factors: plan.factors,
    recipe: packedRecipe(context, index, table, plan),
    out,
    overwrite,
  });
  try {
    await decomposeAll(context, input, output);
  } catch (error) {
    if (LqError.from(error).code !== 'cancelled') await output.discard();
    throw error;
  }
  const norms = new Map(table.matrices.map(row => [row.name, row.weightedNorm]));
  const matrices = plan.matrices.map(({ name }) => relative(name, output.errors(name)!, norms.get(name)!));
  return { ...(await output.finish()), matrices };
}

async function decomposeAll(
  context: PipelineContext,
  { table, fisher }: DecompositionInput,
  output: PackedOutput,
): Promise<void> {
  await overLanes(context, {
    stage: 'decompose',
    items: output.layout.matrices,
    nameOf: ({ name }) => name,
    weightOf: ({ tensor }) => tensor.shape.reduce((product, size) => product * size, 1),
    async work(lane, { name, tensor, option, destination }, report) {
      if (output.isDone(name)) return;
      const parameters = lqParameters(table.recipe, name, fisher);
      const { trace, ...errors } = await callNative(
        lane,
        { file: tensor.file, tensor: name },
        control =>
          lane.native.decompose(
            lane.device,
            tensorSource(tensor),
            nativeOption(option),
            parameters,
            destination,
            control,
          ),
        (finished, all) => report(finished / all),
      );
      await output.markDone(name, { ...errors, trace: [...trace] });
    },
  });
}

function relative(name: string, errors: MatrixErrors, norm: number): DecomposedMatrix {
  const share = (cost: number): number => (cost === 0 ? 0 : Math.sqrt(cost / norm));
  return {
    name,
    errorQuantized: share(errors.quantizedCost),
    errorLq: share(errors.cost),
    errorStored: share(errors.storedCost),
  };
}

function packedRecipe(context: PipelineContext, index: CheckpointIndex, table: SweepTable, plan: Plan): PackedRecipe {
  return {
    source: {
      label: index.label,
      hash: context.digest(JSON.stringify(table.matrices.map(({ name, hash }) => [name, hash]))),
      parameters: index.parameters,
      bytes: index.bytes,
    },
    method: table.recipe,
    budget: plan.budget,
  };
}
