/** A checkpoint opened for looking at values: its logical weights and where the bytes of each are. */
import type { WeightSource } from '../native';
import { tensorSource, turnedSource } from '../checkpoint/sources';
import { logicalTensors } from '../logical/logical';
import { openCheckpoint } from '../logical/open';
import { isReadable } from '../checkpoint/gguf/source';
import { quoteName } from '../text';
import type { CheckpointIndex, LogicalTensor } from '../checkpoint/types';
import type { PipelineContext, Where } from '../context';
import { LqError } from '../errors';
import { weightLookup } from '../logical/lookup';
import { exl3Codes } from '../logical/exl3-codes';
import { mxBlocks } from '../logical/mx-blocks';
import { packedIntegers } from '../logical/packed-integers';

/** Element types that can be measured; the others of the format are listed only. */
const MEASURABLE = /^(?:F64|F32|F16|BF16|F8_E4M3|F8_E5M2|[IU](?:8|16|32|64)|BOOL)$/;

/** A weight whose values can be read. */
export interface Weight {
  readonly tensor: LogicalTensor;
  /** A matrix of outputs by inputs, also where a Conv1D stores it the other way round. */
  readonly source: WeightSource;
}

export interface OpenedWeights {
  readonly index: CheckpointIndex;
  /** In natural order; weights in other tools' packed formats are not among them. */
  readonly readable: readonly Weight[];
  /** All weights of the checkpoint in natural order. */
  readonly logical: readonly LogicalTensor[];
  /** @throws LqError 'tensor-not-found', or 'unsupported-dtype' for a weight that is shown but cannot be read. */
  find(name: string): Weight;
  /** Why a weight's values cannot be read; undefined for one that can, or that is not there. */
  whyNot(name: string): string | undefined;
}

export async function openWeights(context: PipelineContext, path: string): Promise<OpenedWeights> {
  const index = await openCheckpoint(context.files, path);
  const lookup = lookupOf(index);
  const logical = logicalTensors(index);
  const byName = new Map(logical.map(tensor => [tensor.name, tensor]));
  const readable = new Map<string, Weight>();
  for (const tensor of logical) {
    const source = unreadable(tensor) === undefined ? lookup(tensor.name) : undefined;
    if (source !== undefined) readable.set(tensor.name, { tensor, source: asMatrix(tensor, source) });
  }
  const whyNot = (name: string): string | undefined => {
    const tensor = byName.get(name);
    if (tensor === undefined || readable.has(name)) return undefined;
    return unreadable(tensor) ?? 'its parts do not fit together';
  };
  return {
    index,
    readable: [...readable.values()],
    logical,
    whyNot,
    find(name) {
      const weight = readable.get(name);
      if (weight !== undefined) return weight;
      const place = { file: index.path, tensor: name };
      const why = whyNot(name);
      if (why === undefined)
        throw new LqError('tensor-not-found', `${index.label} has no tensor ${quoteName(name)}.`, place);
      throw new LqError('unsupported-dtype', `The values of ${quoteName(name)} cannot be read: ${why}.`, place);
    },
  };
}

const asMatrix = ({ shape, transposed }: LogicalTensor, source: WeightSource): WeightSource =>
  transposed && shape.length === 2 && source.kind === 'dense' ? turnedSource(source) : source;

/** Packed weights of ours that cannot be used are among the problems of the checkpoint: its other weights can be looked at. */
function lookupOf(index: CheckpointIndex): (name: string) => WeightSource | undefined {
  try {
    return weightLookup(index);
  } catch (error) {
    if (!(error instanceof LqError)) throw error;
    return name => {
      const tensor = index.byName.get(name);
      return tensor && tensorSource(tensor);
    };
  }
}

/** Why the values of a weight cannot be read, by its type and format; undefined when they can. */
export function unreadable(tensor: LogicalTensor): string | undefined {
  const { parameters, format, dtype, parts } = tensor;
  if (parameters === 0) return 'it is empty';
  if (format === 'lq') return undefined;
  if (format === 'gguf') return isReadable(parts[0]!.dtype) ? undefined : `blocks of type ${dtype} are not decoded`;
  if (packedIntegers(tensor) ?? mxBlocks(tensor) ?? exl3Codes(tensor)) return undefined;
  if (format !== 'dense') return `it is packed as ${dtype} (${format}), which is not decoded`;
  return MEASURABLE.test(dtype) ? undefined : `values of type ${dtype} are not read`;
}

/** What an error about a weight names. */
export function whereIs({ tensor }: Weight): Where {
  const file = tensor.parts[0]?.file;
  return { tensor: tensor.name, ...(file !== undefined && { file }) };
}
