/**
 * The sweep: every option of every matrix tried, its cost kept. One matrix is one cache entry, so a sweep that dies loses
 * at most the matrix in hand, and two sweeps that share matrices share work.
 */
import type { LqParameters, NativeSweepOption, NativeSweepResult } from '../../engine/native';
import { readCached, writeCached } from '../cache';
import { contentHash, denseSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor } from '../checkpoint/types';
import { backendOf, callNative, stageReporter, throwIfCancelled, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { codeBooks } from './books/registry';
import type { FisherSource, Option, SweepRecipe, SweepRow, SweepTable } from './types';

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
  const total = targets.reduce((sum, target) => sum + target.parameters, 0);
  const report = stageReporter(context, 'sweep', total);
  const book = nativeOptions(options);
  const matrices: SweepRow[] = [];
  let done = 0;
  for (const target of targets) {
    throwIfCancelled(context);
    report(done, { item: target.name });
    const source = denseSource(target);
    const where = { file: source.path, tensor: target.name };
    const hash = await contentHash(context, target);
    const parameters = lqParameters(recipe, target.name, fisher);
    const key = {
      version: SWEEP_VERSION,
      backend: backendOf(context),
      hash,
      rows: source.rows,
      cols: source.cols,
      recipe,
      options,
    };
    let row = await readCached<CachedRow>(context, 'sweep', key);
    if (row === undefined) {
      const result = await callNative(
        context,
        where,
        control => context.native.sweep(context.device, source, book, parameters, control),
        (finished, all) => report(done + (target.parameters * finished) / all, { item: target.name }),
      );
      row = toRow(result, source.rows, source.cols, hash);
      await writeCached(context, 'sweep', key, row);
    }
    const named: SweepRow = { name: target.name, role: target.role, layer: target.layer, ...row };
    matrices.push(named);
    done += target.parameters;
    report(done, { item: target.name, partial: named });
  }
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
    device: context.device,
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
