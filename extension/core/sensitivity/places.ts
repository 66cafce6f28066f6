/** Where targets are in the network. */
import type { LogicalTensor } from '../checkpoint/types';
import { LqError } from '../errors';
import type { WeightPlace } from '../native';
import type { ModelDescription } from '../evaluation/language-model';
import { GRADIENT_KINDS } from '../evaluation/weights';

/**
 * The place of every target in the network, in the targets' order.
 * @param what that is to be computed, for errors
 * @throws LqError 'no-targets', 'unsupported-model' naming the tensor.
 */
export function targetPlaces(
  model: ModelDescription,
  targets: readonly Pick<LogicalTensor, 'name'>[],
  what: string,
): WeightPlace[] {
  if (targets.length === 0) throw new LqError('no-targets', `There is no matrix to compute ${what.toLowerCase()} for.`);
  const known = new Map(
    model.weights.map(({ name, source: _, transposed: __, ...place }): [string, WeightPlace] => [name, place]),
  );
  return targets.map(({ name }) => {
    const place = known.get(name);
    if (place !== undefined && GRADIENT_KINDS.has(place.kind)) return place;
    throw new LqError('unsupported-model', `${what} of ${name} is not available; exclude it.`, {
      file: model.file,
      tensor: name,
    });
  });
}
