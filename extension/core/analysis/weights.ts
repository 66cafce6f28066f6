/** A checkpoint opened for looking at values: its logical weights and where the bytes of each are. */
import type { WeightSource } from '../native';
import { logicalTensors } from '../logical/logical';
import { openCheckpoint } from '../logical/open';
import { isReadable } from '../checkpoint/gguf/source';
import { quoteName } from '../text';
import type { CheckpointIndex, LogicalTensor } from '../checkpoint/types';
import type { PipelineContext, Where } from '../context';
import { LqError } from '../errors';
import { weightLookup } from '../logical/lookup';

/** Element types that can be measured; the others of the format are listed only. */
const MEASURABLE = /^(?:F64|F32|F16|BF16|F8_E4M3|F8_E5M2|[IU](?:8|16|32|64)|BOOL)$/;

/** A weight whose values can be read. */
export interface Weight {
  readonly tensor: LogicalTensor;
  readonly source: WeightSource;
}

export interface OpenedWeights {
  readonly index: CheckpointIndex;
  /** In natural order; weights in other tools' packed formats are not among them. */
  readonly readable: readonly Weight[];
  /** @throws LqError 'tensor-not-found', or 'unsupported-dtype' for a weight that is shown but cannot be read. */
  find(name: string): Weight;
}

export async function openWeights(context: PipelineContext, path: string): Promise<OpenedWeights> {
  const index = await openCheckpoint(context.files, path);
  const lookup = weightLookup(index);
  const logical = logicalTensors(index);
  const readable = new Map<string, Weight>();
  for (const tensor of logical) {
    const decodable =
      tensor.format === 'lq' ||
      (tensor.format === 'gguf' && isReadable(tensor.parts[0]!.dtype)) ||
      (tensor.format === 'dense' && MEASURABLE.test(tensor.dtype));
    const source = decodable && tensor.parameters > 0 ? lookup(tensor.name) : undefined;
    if (source !== undefined) readable.set(tensor.name, { tensor, source });
  }
  return {
    index,
    readable: [...readable.values()],
    find(name) {
      const weight = readable.get(name);
      if (weight !== undefined) return weight;
      const place = { file: index.path, tensor: name };
      const tensor = logical.find(candidate => candidate.name === name);
      if (tensor === undefined)
        throw new LqError('tensor-not-found', `${index.label} has no tensor ${quoteName(name)}.`, place);
      throw new LqError(
        'unsupported-dtype',
        `${quoteName(name)} is stored as ${tensor.dtype}: its values cannot be read.`,
        place,
      );
    },
  };
}

/** What an error about a weight names. */
export function whereIs({ tensor }: Weight): Where {
  const file = tensor.parts[0]?.file;
  return { tensor: tensor.name, ...(file !== undefined && { file }) };
}
