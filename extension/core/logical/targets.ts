import { LqError } from '../errors';
import { anyGlob } from '../checkpoint/glob';
import { BLOCK_LINEAR_ROLES } from '../checkpoint/roles';
import type { LogicalTensor, Role } from '../checkpoint/types';

const FLOATS: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16']);
/** Two-dimensional without being a linear map: never selected, however wide a glob is. */
const NOT_LINEAR: ReadonlySet<Role> = new Set<Role>(['embedding', 'position', 'norm', 'bias', 'rotary']);

/**
 * The matrices to compress. Without `include`: the linear weights of the transformer blocks by their role (method
 * section 1). With it: every dense linear weight that a glob names, the head and unknown roles too. `exclude` takes away.
 * @throws LqError 'no-targets' saying why, 'usage' for a bad glob.
 */
export function selectTargets(
  logical: readonly LogicalTensor[],
  include: readonly string[] = [],
  exclude: readonly string[] = [],
): LogicalTensor[] {
  const included = include.length > 0 ? anyGlob(include) : undefined;
  const excluded = anyGlob(exclude);
  const wanted = logical.filter(
    ({ name, shape, role, layer }) =>
      shape.length === 2 &&
      (included ? included(name) && !NOT_LINEAR.has(role) : BLOCK_LINEAR_ROLES.has(role) && layer >= 0) &&
      !excluded(name),
  );
  const targets = wanted.filter(({ format, dtype }) => format === 'dense' && FLOATS.has(dtype));
  if (targets.length > 0) return targets;
  const packed = wanted[0];
  const reason = packed
    ? `the linear weights are stored as ${packed.dtype} (${packed.format}); compression starts from a dense checkpoint`
    : included || exclude.length > 0
      ? 'no linear weight is left by the given include and exclude patterns'
      : 'no linear weight of a transformer block was recognised by its name; choose weights with include patterns';
  throw new LqError('no-targets', `Nothing to compress: ${reason}.`, packed ? { tensor: packed.name } : {});
}
