/** Before a compression: can it be done, and what will it take? */
import type { CompressRequest } from './requests/requests';
import type { EstimateReport } from './reports';
import { folderOf } from './files/paths';
import type { WritableFileSystem } from './files/types';
import type { PipelineContext } from './context';
import { requireOneRank } from './allocation/plan';
import { LqError } from './errors';
import { feasibleRange, peakMemory, predictSeconds } from './estimate';
import { keptBytes, open, optionsOf, type Opened } from './opened';
import { DEFAULTS } from './requests/defaults';

/** Refuses a budget below what the options can meet, before any work. */
export function requireFeasible(request: CompressRequest, opened: Opened): void {
  const { kind, value } = request.budget;
  if (kind === 'bits') requireOneRank(optionsOf(request));
  const range = rangeOf(request, opened);
  if (value >= range.minimum) return;
  const unit = kind === 'bytes' ? 'bytes' : kind === 'bits' ? 'bits per weight' : 'effective bits per weight';
  throw new LqError('budget-infeasible', `A budget of ${value} ${unit} cannot be met; the least is ${range.minimum}.`, {
    file: opened.index.path,
    details: { minimum: range.minimum, maximum: range.maximum },
  });
}

/** Refuses a disk that could not even hold the smallest output, before any work; the exact need is checked when writing. */
export async function requireRoom(files: WritableFileSystem, request: CompressRequest, opened: Opened): Promise<void> {
  let folder = folderOf(request.out);
  while ((await files.stat(folder)) === undefined && folderOf(folder) !== folder) folder = folderOf(folder);
  const packed = rangeOf({ ...request, budget: { kind: 'bytes', value: 0 } }, opened).minimum;
  const needed = request.format === 'dense' ? opened.index.bytes : packed;
  const free = await files.freeBytes(folder);
  if (free < needed)
    throw new LqError('disk-full', `${request.out} needs at least ${needed} bytes, ${free} are free.`, {
      file: request.out,
      details: { needed, free },
    });
}

function rangeOf(request: CompressRequest, opened: Opened): { minimum: number; maximum: number } {
  const factors = request.factors ?? DEFAULTS.factors;
  return feasibleRange(request.budget.kind, opened.targets, optionsOf(request), factors, keptBytes(opened));
}

/** Time, memory and size of a compression, before it starts. */
export async function estimate(context: PipelineContext, request: CompressRequest): Promise<EstimateReport> {
  const opened = await open(context.files, request);
  const { index, targets } = opened;
  const parameters = targets.reduce((sum, target) => sum + target.parameters, 0);
  const tokens = (request.samples ?? DEFAULTS.samples) * (request.context ?? DEFAULTS.context);
  const evaluated = request.evalText === undefined ? 0 : await evaluatedTokens(context, request);
  const range = rangeOf(request, opened);
  const { kind, value } = request.budget;
  const bits = Math.min(Math.max(value, range.minimum), range.maximum);
  const needsModel = request.calibration !== undefined || request.evalText !== undefined;
  return {
    matrices: targets.length,
    parameters,
    seconds: {
      fisher:
        request.calibration === undefined ? 0 : await predictSeconds(context, 'fisher', index.parameters * tokens),
      sweep: await predictSeconds(context, 'sweep', parameters * optionsOf(request).length),
      decompose: await predictSeconds(context, 'decompose', parameters),
      evaluate: 2 * (await predictSeconds(context, 'evaluate', index.parameters * evaluated)),
    },
    peakMemory: peakMemory(index, targets, needsModel),
    outputBytes: Math.round(kind === 'bytes' ? bits : keptBytes(opened) + (bits * parameters) / 8),
    feasible: range,
  };
}

/** Tokens of an evaluation text, guessed from its size: English text has about four bytes a token. */
async function evaluatedTokens(context: PipelineContext, request: CompressRequest): Promise<number> {
  if (request.windows !== undefined) return request.windows * (request.context ?? DEFAULTS.context);
  return ((await context.files.stat(request.evalText!))?.bytes ?? 0) / 4;
}
