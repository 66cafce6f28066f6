/** Weights by name, whichever of our two ways they are stored. */
import type { WeightSource } from '../native';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex } from '../checkpoint/types';
import { readPacked } from './reader';

/**
 * Where the weight of a name is: a packed matrix, or a stored tensor.
 * @throws LqError 'packed-format' when the checkpoint is packed and damaged.
 */
export function weightLookup(index: CheckpointIndex): (name: string) => WeightSource | undefined {
  const packed = readPacked(index);
  return name => {
    const tensor = index.byName.get(name);
    return packed.get(name)?.source ?? (tensor && tensorSource(tensor));
  };
}
