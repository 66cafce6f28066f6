/** Weights by name, whichever way they are stored that can be read. */
import { ggufSource } from '../checkpoint/gguf/source';
import { sliceAt, sliceName } from '../checkpoint/slices';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, StorageFormat } from '../checkpoint/types';
import type { WeightSource } from '../native';
import { LqError } from '../errors';
import { readPacked } from '../packed/reader';
import { quoteName } from '../text';
import { exl3Codes } from './exl3-codes';
import { logicalTensors } from './logical';
import { mxBlocks } from './mx-blocks';
import { nf4Blocks } from './nf4-blocks';
import { MLX_SYMMETRIC, packedIntegers } from './packed-integers';

/** Formats whose tensors are looked up by other ways, and adapters, which are no weights. */
const OWN: ReadonlySet<StorageFormat> = new Set<StorageFormat>(['dense', 'lq', 'gguf', 'lora']);

function refuse({ name, dtype, format, parts }: LogicalTensor): never {
  throw new LqError(
    'unsupported-dtype',
    `${quoteName(name)} is packed as ${dtype} (${format}), which is not decoded.`,
    {
      ...(parts[0] && { file: parts[0].file }),
      tensor: name,
    },
  );
}

/**
 * Where the weight of a name is: a stored tensor or a slice of one, `NAME[3]`, a packed matrix of ours, symmetric integers of
 * compressed-tensors, MXFP4, NF4 of bitsandbytes, EXL3, or a tensor of a GGUF file by the name it has in transformers. Undefined when there is none.
 * @throws LqError 'packed-format' when the checkpoint is packed and damaged; the lookup throws 'unsupported-dtype' for a
 *   tensor whose values cannot be read.
 */
export function weightLookup(index: CheckpointIndex): (name: string) => WeightSource | undefined {
  const { gguf } = index;
  if (gguf) {
    const parts = new Map(logicalTensors(index).map(({ name, parts: [part] }) => [name, part]));
    return name => {
      const tensor = parts.get(name);
      return tensor && ggufSource(tensor, gguf);
    };
  }
  const packed = readPacked(index);
  // Of every layout that is not ours: one that keeps the weight's name beside a scale would pass for the weight itself.
  const foreign = new Map(
    logicalTensors(index).flatMap(tensor => (OWN.has(tensor.format) ? [] : [[tensor.name, tensor] as const])),
  );
  const symmetric = new Set(
    index.shards.filter(({ metadata }) => metadata['biases'] === MLX_SYMMETRIC.biases).map(({ file }) => file),
  );
  const stored = (name: string): WeightSource | undefined => {
    const other = foreign.get(name);
    if (other)
      return (
        packedIntegers(other, symmetric.has(other.parts[0]?.file ?? '')) ??
        mxBlocks(other) ??
        nf4Blocks(other, index.descriptors) ??
        exl3Codes(other) ??
        refuse(other)
      );
    const tensor = index.byName.get(name);
    return packed.get(name)?.source ?? (tensor && tensorSource(tensor));
  };
  return name => stored(name) ?? slice(name);

  /** A matrix or vector of a tensor that holds several. */
  function slice(name: string): WeightSource | undefined {
    const { whole, at } = sliceName(name) ?? {};
    const tensor = whole === undefined ? undefined : index.byName.get(whole);
    if (tensor !== undefined && at !== undefined)
      return at < (tensor.shape[0] ?? 0) ? tensorSource(sliceAt(tensor, at)) : undefined;
    const other = whole === undefined ? undefined : foreign.get(whole);
    return other && (mxBlocks(other, at) ?? refuse(other));
  }
}
