/**
 * The sweep: every option of every matrix tried, its cost kept. One matrix is one cache entry, so a sweep that dies loses
 * at most the matrix in hand, and two sweeps that share matrices share work.
 */
import type { LqParameters, NativeSweepOption, NativeSweepResult } from '../native';
import { readCached, writeCached } from '../storage/cache';
import { contentHash, denseSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor } from '../checkpoint/types';
import { backendOf, callNative, devicesOf, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { overLanes } from '../lanes';
import { codeBooks } from '../options/books/registry';
import type { FisherSource, SweepRow, SweepTable } from './types';
import type { Option } from '../options/types';
import type { SweepRecipe } from '../options/recipe';

/** Raised when the sweep's arithmetic changes, so that older costs are not reused. */
const SWEEP_VERSION = 1;

export interface SweepInput {
  index: CheckpointIndex;
  targets: readonly LogicalTensor[];
  options: readonly Option[];
  recipe: SweepRecipe;
  /** Required when the recipe is weighted. */
  fisher?: FisherSource;
}

/** What a cache entry holds: a row without the names a checkpoint gives it. */
type CachedRow = Omit<SweepRow, 'name' | 'role' | 'layer'>;

/** The options in the addon's form. */
export function nativeOptions(options: readonly Option[]): NativeSweepOption[] {
  return options.map(option => nativeOption(option));
}

export function nativeOption({ book, config, rank }: Option): NativeSweepOption {
  return { config, rank, book: { bits: config.b0, levels: Float32Array.from(codeBooks[book].levels(config.b0)) } };
}

/** The numerical parameters of a recipe for one matrix. */
export function lqParameters(recipe: SweepRecipe, name: string, fisher?: FisherSource): LqParameters {
  const weight = recipe.weighting === 'fisher' ? fisher?.matrices.get(name) : undefined;
  if (recipe.weighting === 'fisher' && weight === undefined)
    throw new LqError('fisher-mismatch', `The Fisher file has no matrix named ${name}.`, {
      tensor: name,
      ...(fisher !== undefined && { file: fisher.file }),
    });
  return {
    ...(weight !== undefined && { fisher: weight }),
    scales: recipe.scales,
    iterations: recipe.iterations,
    patience: recipe.patience,
    oversampling: recipe.oversampling,
    powerIterations: recipe.powerIterations,
    seed: recipe.seed,
  };
}

/**
 * Costs of all options for all targets, in the targets' order. Progress counts weights; each finished row is reported as
 * the partial result. Errors: not-finite, io, out-of-memory, cancelled, each naming the tensor.
 */
export async function sweep(context: PipelineContext, input: SweepInput): Promise<SweepTable> {
  const { index, targets, options, recipe, fisher } = input;
  const start = context.now();
  const book = nativeOptions(options);
  const matrices = await overLanes(context, {
    stage: 'sweep',
    items: targets,
    nameOf: ({ name }) => name,
    weightOf: ({ parameters }) => parameters,
    async work(lane, target, report) {
      const source = denseSource(target);
      const hash = await contentHash(lane, target);
      const parameters = lqParameters(recipe, target.name, fisher);
      const key = {
        version: SWEEP_VERSION,
        backend: backendOf(lane),
        hash,
        rows: source.rows,
        cols: source.cols,
        recipe,
        options,
      };
      let row = await readCached<CachedRow>(lane, 'sweep', key);
      if (row === undefined) {
        const result = await callNative(
          lane,
          { file: source.path, tensor: target.name },
          control => lane.native.sweep(lane.device, source, book, parameters, control),
          (finished, all) => report(finished / all),
        );
        row = toRow(result, source.rows, source.cols, hash);
        await writeCached(lane, 'sweep', key, row);
      }
      const named: SweepRow = { name: target.name, role: target.role, layer: target.layer, ...row };
      report(1, named);
      return named;
    },
  });
  return {
    version: 1,
    model: {
      path: index.path,
      label: index.label,
      parameters: index.parameters,
      bytes: index.bytes,
      keptBytes: index.bytes - targets.reduce((sum, target) => sum + target.bytes, 0),
    },
    recipe,
    options,
    matrices,
    seconds: (context.now() - start) / 1000,
    device: devicesOf(context),
  };
}

function toRow(result: NativeSweepResult, rows: number, cols: number, hash: string): CachedRow {
  return {
    rows,
    cols,
    hash,
    costs: [...result.costs],
    squaredErrors: [...result.squaredErrors],
    quantizedCosts: [...result.quantizedCosts],
    iterations: [...result.iterations],
    norm: result.norm,
    weightedNorm: result.weightedNorm,
  };
}
