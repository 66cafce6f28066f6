/** Writing packed checkpoints: a plan's matrices one by one, resumable, and everything around them. */
import { elementTensor, filesHash } from '../checkpoint/sources';
import type { Budget } from '../options/budget';
import { joinPath } from '../files/paths';
import type { CheckpointIndex } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { describeOption, optionBits, packedBytes } from '../options/option';
import type { FactorStorage } from '../options/types';
import type { SweepRecipe } from '../options/recipe';
import { copyTensors } from '../storage/copy';
import { openOutput, partialFolder } from '../storage/output';
import { copySideFiles } from '../checkpoint/side-files';
import { markConfig } from './config';
import { describeShard, PACKED_FORMAT, PACKED_VERSION, SIDECAR_FILE } from './format';
import { planPackedLayout, type PackedLayout, type PackedTarget } from './layout';

/** How a packed checkpoint came to be; kept in its sidecar and part of what a resumed run must agree on. */
export interface PackedRecipe {
  /** `hash` identifies the content of the source's matrices. */
  readonly source: {
    readonly label: string;
    readonly hash: string;
    readonly parameters: number;
    readonly bytes: number;
  };
  readonly method: SweepRecipe;
  /** Present when matrices were encoded in layer order: the share made up for, and a hash of the tokens it was done on. */
  readonly secondPass?: {
    readonly alpha: number;
    readonly windows: number;
    readonly context: number;
    readonly tokens: string;
  };
  readonly budget: Budget;
}

/** Errors of one matrix, squared, under the metric of the method. */
export interface MatrixErrors {
  readonly cost: number;
  readonly squaredError: number;
  readonly storedCost: number;
  readonly storedSquaredError: number;
  /** Of quantisation alone; with what follows, of an option that went through the LQ iteration. */
  readonly quantizedCost?: number;
  readonly iterations?: number;
  readonly bestIteration?: number;
  /** Error norm of each iteration under the metric. */
  readonly trace?: readonly number[];
}

export interface PackedJob {
  readonly source: CheckpointIndex;
  readonly targets: readonly PackedTarget[];
  readonly factors: FactorStorage;
  /** Bytes of the shards' headers at least, see `headerRoom`. */
  readonly headers?: readonly number[];
  readonly recipe: PackedRecipe;
  /** Text of README.md. */
  readonly readme?: string;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** Whether a finished checkpoint of this very job, made by another process, is the result; else it is in the way. */
  readonly adopt?: boolean;
}

export interface PackedOutput {
  readonly layout: PackedLayout;
  isDone(name: string): boolean;
  /** Errors recorded for a finished matrix, by this run or the one it continues. */
  errors(name: string): MatrixErrors | undefined;
  /** Records a matrix whose parts have been written to its destination. */
  markDone(name: string, errors: MatrixErrors): Promise<void>;
  /** Writes index, sidecar, configuration and tokenizer, and gives the folder its name. All matrices must be done. */
  finish(): Promise<{ out: string; files: string[]; bytes: number }>;
  /** Throws when another process has taken over, see `Output`. */
  requireHeld(): Promise<void>;
  /** Ends unfinished and leaves the finished matrices to the next run. */
  keep(): Promise<void>;
  /** Removes what was written so far. */
  discard(): Promise<void>;
}

/** Journal entry of the tensors kept as they are; no tensor can have this name in a valid target list. */
const KEPT = '*kept*';

/**
 * Allocates the files of a packed checkpoint and copies the tensors it keeps, or continues a partial one of the same job.
 * @throws LqError 'output-exists', 'disk-full', 'io', 'cancelled' and those of `planPackedLayout`.
 */
export async function createPackedOutput(context: PipelineContext, job: PackedJob): Promise<PackedOutput> {
  const { source, targets, factors, headers, out } = job;
  const config = source.config && joinPath(source.folder, 'config.json');
  const markedConfig = config && markConfig(await context.files.readText(config), config);
  const fingerprint = packedFingerprint(context, job, await filesHash(context, source));
  const layout = planPackedLayout(
    source,
    targets,
    { factors, seed: job.recipe.method.seed, ...(headers && { headers }) },
    partialFolder(out),
  );
  const output = await openOutput<MatrixErrors | undefined>(context, {
    out,
    source: source.folder,
    overwrite: job.overwrite,
    fingerprint,
    shared: true,
    items: layout.matrices.length + 1,
    files: layout.shards,
    ...(job.adopt === true && { finished: () => finishedMatrices(context, out, fingerprint, layout) }),
  });
  if (!output.finished && !output.done.has(KEPT)) {
    try {
      await copyTensors(context, layout.copies);
      await output.markDone(KEPT, undefined, [...new Set(layout.copies.map(({ shard }) => shard))]);
    } catch (error) {
      await output.keep();
      throw error;
    }
  }
  const shardOf = new Map(layout.matrices.map(({ name, shard }) => [name, shard]));
  return {
    layout,
    isDone: name => output.done.has(name),
    errors: name => output.done.get(name),
    markDone: (name, errors) => output.markDone(name, errors, [shardOf.get(name)!]),
    requireHeld: () => output.requireHeld(),
    keep: () => output.keep(),
    async finish() {
      const { folder } = output;
      if (output.finished) return { out, files: await output.finish(), bytes: layout.bytes };
      if (layout.index) await context.files.writeAtomic(joinPath(folder, layout.index.file), layout.index.text);
      await copySideFiles(context, source, folder);
      if (markedConfig !== undefined) await context.files.writeAtomic(joinPath(folder, 'config.json'), markedConfig);
      if (job.readme !== undefined) await context.files.writeAtomic(joinPath(folder, 'README.md'), job.readme);
      await context.files.writeAtomic(joinPath(folder, SIDECAR_FILE), sidecar(job, fingerprint, layout, output.done));
      return { out, files: await output.finish(), bytes: layout.bytes };
    },
    discard: () => output.discard(),
  };
}

/** Identifies a job by everything that its bytes depend on; `source` is the hash of the source's files. */
function packedFingerprint(
  context: Pick<PipelineContext, 'digest'>,
  { recipe, factors, targets, headers }: PackedJob,
  source: string,
): string {
  return context.digest(JSON.stringify([PACKED_VERSION, recipe, source, factors, targets, headers]));
}

/** The errors recorded in a finished checkpoint that a job of the same fingerprint wrote, by matrix. */
async function finishedMatrices(
  { files }: PipelineContext,
  out: string,
  fingerprint: string,
  layout: PackedLayout,
): Promise<Map<string, MatrixErrors> | undefined> {
  const path = joinPath(out, SIDECAR_FILE);
  if ((await files.stat(path)) === undefined) return undefined;
  const sidecar = JSON.parse(await files.readText(path)) as {
    fingerprint?: string;
    matrices: { name: string; errors: MatrixErrors }[];
  };
  if (sidecar.fingerprint !== fingerprint) return undefined;
  for (const { file, bytes } of layout.shards)
    if ((await files.stat(joinPath(out, file)))?.bytes !== bytes) return undefined;
  return new Map(sidecar.matrices.map(({ name, errors }) => [name, errors]));
}

/** The JSON sidecar, see FORMAT.md. */
function sidecar(
  { factors, recipe }: PackedJob,
  fingerprint: string,
  layout: PackedLayout,
  errors: ReadonlyMap<string, MatrixErrors | undefined>,
): string {
  const described = new Map(
    layout.matrices.map(({ name, tensor, option }) => {
      const [rows, cols] = tensor.shape as [number, number];
      return [name, { dtype: elementTensor(tensor).dtype, shape: [rows, cols] as const, option }];
    }),
  );
  const matrices = layout.matrices.map(({ name, tensor, option, shard }) => {
    const [rows, cols] = tensor.shape as [number, number];
    const count = rows * cols;
    const bytes = packedBytes(option, rows, cols, factors);
    return {
      name,
      file: shard,
      dtype: tensor.dtype,
      shape: tensor.shape,
      option,
      label: describeOption(option),
      bits: optionBits(option, rows, cols) / count,
      effective_bits: (8 * bytes) / count,
      bytes,
      errors: errors.get(name),
    };
  });
  const { books } = describeShard(described, factors, recipe.method.seed);
  const document = {
    format: PACKED_FORMAT,
    version: PACKED_VERSION,
    ...recipe,
    fingerprint,
    factors,
    books,
    bytes: layout.bytes,
    matrices,
  };
  return `${JSON.stringify(document, undefined, 1)}\n`;
}
