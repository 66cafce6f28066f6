/**
 * Which weights are compressed, by the structure of a network rather than by lists of names: the linear maps inside its
 * repeated blocks. What a figure covers, and what it leaves out and why, is a value beside them (`coverageOf`).
 */
import { LqError } from '../errors';
import { anyGlob } from '../checkpoint/glob';
import { slicesOf, turned } from '../checkpoint/slices';
import type { LogicalTensor, Role, TensorInfo } from '../checkpoint/types';

const FLOATS: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16']);
const TABLES: ReadonlySet<Role> = new Set<Role>(['embedding', 'position', 'rotary']);

/** Weights inside the repeated blocks that are no targets, for one reason. */
interface LeftOut {
  readonly reason: string;
  readonly tensors: number;
  readonly weights: number;
  /** The first of them. */
  readonly example: string;
}

/** What share of a network a compression is about. */
export interface Coverage {
  /** Weights of the targets. */
  readonly weights: number;
  /** Weights inside the repeated blocks, targets or not, and of targets outside them. */
  readonly blockWeights: number;
  readonly left: readonly LeftOut[];
}

/**
 * The matrices to compress. Without `include`: the linear weights inside repeated blocks, experts that are stored together
 * as slices of their tensor, `NAME[expert]`. What is stored [in, out] is a target [out, in]. With it: every matrix that a
 * glob names, whatever and wherever it is, and slices of three-dimensional tensors. `exclude` takes away.
 * @param embeddings whether `tokenMatrices` are added
 * @throws LqError 'no-targets' saying why, 'usage' for a bad glob.
 */
export function selectTargets(
  logical: readonly LogicalTensor[],
  include: readonly string[] = [],
  exclude: readonly string[] = [],
  embeddings = false,
): LogicalTensor[] {
  const added = new Set(embeddings ? requireTokenMatrices(logical).map(({ name }) => name) : []);
  const included = include.length > 0 ? anyGlob(include) : undefined;
  const excluded = anyGlob(exclude);
  const reasonOf = reasonsIn(logical);
  const targets: LogicalTensor[] = [];
  let stored: LogicalTensor | undefined;
  for (const tensor of logical) {
    const asked = added.has(tensor.name);
    const wanted = included ? tensor.shape.length >= 2 : tensor.layer >= 0 && reasonOf(tensor) === undefined;
    if (!wanted && !asked) continue;
    // Experts that are packed together are no matrices to choose from, but a reason when nothing is left.
    if (tensor.shape.length > 2 && tensor.format !== 'dense') stored ??= tensor;
    for (const matrix of matricesOf(tensor)) {
      if (matrix.shape.length !== 2) continue;
      const named = (glob: (name: string) => boolean): boolean => glob(matrix.name) || glob(tensor.name);
      if ((included && !asked && !named(included)) || named(excluded)) continue;
      if (storageOf(matrix) === undefined) targets.push(matrix);
      else stored ??= matrix;
    }
  }
  if (targets.length > 0) return targets;
  throw nothingLeft(stored, included !== undefined || exclude.length > 0);
}

/** @param stored a weight that is no target for how it is stored; @param chosen whether patterns chose */
function nothingLeft(stored: LogicalTensor | undefined, chosen: boolean): LqError {
  const reason = stored
    ? `the linear weights are stored as ${stored.dtype}${stored.format === 'dense' ? '' : ` (${stored.format})`}; compression starts from F32, BF16 or F16`
    : chosen
      ? 'no linear weight is left by the given include and exclude patterns'
      : 'no linear weight inside repeated blocks was found; choose weights with include patterns';
  return new LqError('no-targets', `Nothing to compress: ${reason}.`, stored ? { tensor: stored.name } : {});
}

/**
 * What the targets are a share of, and what else there is.
 * @param further reasons for tensors that structure would have made targets, by name
 */
export function coverageOf(
  logical: readonly LogicalTensor[],
  targets: readonly LogicalTensor[],
  further: ReadonlyMap<string, string> = new Map(),
): Coverage {
  const reasonOf = reasonsIn(logical);
  const chosen = new Set(targets.map(({ name }) => name));
  const left = new Map<string, LeftOut>();
  let weights = 0;
  let blockWeights = 0;
  for (const tensor of logical) {
    for (const matrix of matricesOf(tensor)) {
      const covered = chosen.has(matrix.name);
      if (!covered && tensor.layer < 0) continue;
      blockWeights += matrix.parameters;
      if (covered) {
        weights += matrix.parameters;
        continue;
      }
      const reason = further.get(matrix.name) ?? reasonOf(tensor) ?? storageOf(tensor) ?? 'excluded, or not included';
      const known = left.get(reason) ?? { reason, tensors: 0, weights: 0, example: matrix.name };
      left.set(reason, { ...known, tensors: known.tensors + 1, weights: known.weights + matrix.parameters });
    }
  }
  return { weights, blockWeights, left: [...left.values()].sort((a, b) => b.weights - a.weights) };
}

/** A coverage after some of its targets turned out not to be. */
export function withoutTargets(
  coverage: Coverage,
  dropped: readonly { readonly target: LogicalTensor; readonly reason: string }[],
): Coverage {
  const weights = dropped.reduce((sum, { target }) => sum - target.parameters, coverage.weights);
  const left = dropped.map(({ target: { name, parameters }, reason }) => ({
    reason,
    tensors: 1,
    weights: parameters,
    example: name,
  }));
  return { ...coverage, weights, left: [...left, ...coverage.left] };
}

/**
 * The matrices that have a row for every token: the embedding and the head, one where they are tied. Those that are stored as
 * floats.
 */
function tokenMatrices(logical: readonly LogicalTensor[]): LogicalTensor[] {
  const tables = logical.filter(
    tensor =>
      isTokenRole(tensor) &&
      tensor.shape.length === 2 &&
      tensor.shape.every(size => size > 1) &&
      !isBias(tensor.name) &&
      storageOf(tensor) === undefined,
  );
  // Types of segments have a table too, and what classifies has few rows.
  const tokens = Math.max(0, ...tables.map(({ shape }) => shape[0]!));
  return tables.filter(({ shape }) => shape[0] === tokens);
}

function requireTokenMatrices(logical: readonly LogicalTensor[]): LogicalTensor[] {
  const found = tokenMatrices(logical);
  if (found.length === 0)
    throw new LqError('no-targets', 'There is no embedding and no head that is stored as floats.');
  return found;
}

/** Whether a target is outside of the blocks, an embedding or a head: no statistics of blocks speak of it. */
export const isTokenRole = ({ role, layer }: Pick<LogicalTensor, 'role' | 'layer'>): boolean =>
  layer < 0 && (role === 'embedding' || role === 'head');

/** A matrix itself, or the matrices a three-dimensional tensor of dense storage holds one after another; as [out, in]. */
function matricesOf(tensor: LogicalTensor): readonly LogicalTensor[] {
  const part = tensor.parts[0];
  if (tensor.format !== 'dense' || part === undefined) return [tensor];
  const oriented = (own: TensorInfo): TensorInfo => (tensor.transposed ? turned(own) : own);
  if (tensor.shape.length === 2) {
    const own = oriented(part);
    return [{ ...tensor, shape: own.shape, parts: [own] }];
  }
  if (tensor.shape.length !== 3 || !holdsMatrices(tensor)) return [tensor];
  return slicesOf(part)
    .map(oriented)
    .map(slice => ({
      ...tensor,
      name: slice.name,
      shape: slice.shape,
      parameters: tensor.parameters / tensor.shape[0]!,
      bytes: slice.bytes,
      parts: [slice],
    }));
}

/** Experts that are stored together; kernels of convolutions have three dimensions too. */
function holdsMatrices({ name, shape }: LogicalTensor): boolean {
  return (
    /(?:^|\.)(?:experts|block_sparse_moe\.(?:input|output)_linear)\./.test(name) &&
    shape.every(size => size > 1) &&
    !isBias(name)
  );
}

const isBias = (name: string): boolean => /(?:^|[._])(?:bias|beta)$/.test(name);

/** Why a tensor cannot be compressed as it is stored. */
function storageOf({ dtype, format }: LogicalTensor): string | undefined {
  if (format !== 'dense') return `already stored as ${dtype} (${format})`;
  return FLOATS.has(dtype) ? undefined : `stored as ${dtype}; F32, F16 and BF16 are compressed`;
}

/** A function that says why a tensor is no linear map, undefined for one that is. */
function reasonsIn(logical: readonly LogicalTensor[]): (tensor: LogicalTensor) => string | undefined {
  // The modules that hold experts: a matrix directly in one of them chooses among the experts.
  const holders = new Set<string>();
  for (const { name } of logical) {
    const at = name.search(/(?:^|\.)experts\./);
    if (at >= 0) holders.add(name.slice(0, Math.max(0, at)));
  }
  return tensor => {
    const { name, shape, role } = tensor;
    if (shape.length < 2 || shape.filter(size => size > 1).length < 2 || role === 'norm' || isBias(name))
      return 'norms, biases and other vectors';
    const segments = name.replace(/\[\d+\]$/, '').split('.');
    const leaf = segments.at(-1)!;
    if (TABLES.has(role) || segments.some(segment => /embed/i.test(segment))) return 'embeddings';
    if (shape.length > 2) {
      if (holdsMatrices(tensor)) return undefined;
      return leaf === 'weight' ? 'convolutions' : 'tensors of three and more dimensions';
    }
    const owner = segments.slice(0, -1);
    if (owner.some(segment => /^router$|^gate_?network$/.test(segment)) || holders.has(owner.slice(0, -1).join('.')))
      return 'routers of experts';
    if (!/(?:^|_)(?:weight|proj|kernel|w\d*)$/.test(leaf)) return 'parameters that are not named as weights';
    return undefined;
  };
}
