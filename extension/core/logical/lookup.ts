/** Weights by name, whichever way they are stored that can be read. */
import { ggufSource } from '../checkpoint/gguf/source';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import type { WeightSource } from '../native';
import { readPacked } from '../packed/reader';
import { logicalTensors } from './logical';

/**
 * Where the weight of a name is: a stored tensor, a packed matrix of ours, or a tensor of a GGUF file by the name it has in
 * transformers. Undefined when there is none.
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
  return name => {
    const tensor = index.byName.get(name);
    return packed.get(name)?.source ?? (tensor && tensorSource(tensor));
  };
}
