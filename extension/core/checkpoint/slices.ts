/**
 * Tensors of three dimensions that hold one matrix after another, such as the experts of a layer. They are compressed matrix
 * by matrix: for that, such a tensor stands for its slices, `NAME[0]`, `NAME[1]` and so on, and is put together again when
 * it is written densely. Matrices that are stored [in, out] are compressed as [out, in].
 */
import type { TensorPlace, TensorSpec } from './serialize';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from './types';

const SLICE = /^(.+)\[(\d+)\]$/;

/** The matrices of a tensor [count, rows, cols] as tensors of their own, which lie one after another in its bytes. */
export const slicesOf = <T extends Sliced>(tensor: T): T[] =>
  Array.from({ length: tensor.shape[0] ?? 0 }, (_, i) => sliceAt(tensor, i));

type Sliced = Pick<TensorPlace, 'name' | 'shape' | 'offset' | 'bytes'>;

/** One of them. */
export function sliceAt<T extends Sliced>(tensor: T, at: number): T {
  const [count = 1, ...shape] = tensor.shape;
  const bytes = tensor.bytes / count;
  return { ...tensor, name: `${tensor.name}[${at}]`, shape, offset: tensor.offset + at * bytes, bytes };
}

/** The tensor's name and the number of a slice of it, or undefined for a name that is no slice's. */
export function sliceName(name: string): { readonly whole: string; readonly at: number } | undefined {
  const [, whole, at] = SLICE.exec(name) ?? [];
  return whole === undefined ? undefined : { whole, at: Number(at) };
}

/** A matrix that is stored the other way round, as what it is: the shape is that of the matrix. */
export function turned<T extends Pick<TensorInfo, 'shape' | 'transposed'>>(tensor: T): T & { transposed: true } {
  const [rows = 1, cols = 1] = tensor.shape;
  return { ...tensor, shape: [cols, rows], transposed: true };
}

/** The shape that a tensor's bytes have. */
export function storedShape({ shape, transposed }: Pick<TensorInfo, 'shape' | 'transposed'>): readonly number[] {
  return transposed === true ? [...shape].reverse() : shape;
}

/**
 * A checkpoint in which every tensor that a target is a slice of is replaced by all its slices, and targets are as they are
 * compressed.
 */
export function targetTensors(
  index: CheckpointIndex,
  targets: readonly Pick<LogicalTensor, 'name' | 'parts'>[],
): CheckpointIndex {
  const sliced = new Set<string>();
  const other = new Map<string, TensorInfo>();
  for (const { name, parts } of targets) {
    const whole = sliceName(name)?.whole;
    if (whole !== undefined && !index.byName.has(name) && index.byName.has(whole)) sliced.add(whole);
    if (parts[0]?.transposed) other.set(name, parts[0]);
  }
  if (sliced.size === 0 && other.size === 0) return index;
  const tensors = index.tensors
    .flatMap(tensor => (sliced.has(tensor.name) ? slicesOf(tensor) : [tensor]))
    .map(tensor => other.get(tensor.name) ?? tensor);
  return { ...index, tensors, byName: new Map(tensors.map(tensor => [tensor.name, tensor])) };
}

/** Tensors with complete sets of slices joined, in the place of their first; `joined` names those. */
export function joinSlices(tensors: readonly TensorSpec[]): { specs: TensorSpec[]; joined: ReadonlySet<string> } {
  const names = new Set(tensors.map(({ name }) => name));
  const slices = new Map<string, Map<number, TensorSpec>>();
  for (const tensor of tensors) {
    const [, whole, at] = SLICE.exec(tensor.name) ?? [];
    if (whole === undefined || names.has(whole)) continue;
    const found = slices.get(whole) ?? new Map<number, TensorSpec>();
    slices.set(whole, found.set(Number(at), tensor));
  }
  const joined = new Set([...slices].filter(([, found]) => isComplete(found)).map(([whole]) => whole));
  const specs = tensors.flatMap((tensor): TensorSpec[] => {
    const [, whole = '', at] = SLICE.exec(tensor.name) ?? [];
    if (!joined.has(whole)) return [tensor];
    const { dtype, shape } = tensor;
    return at === '0' ? [{ name: whole, dtype, shape: [slices.get(whole)!.size, ...shape] }] : [];
  });
  return { specs, joined };
}

/** Whether slices are numbered from 0 without a gap and of one type and shape. */
function isComplete(slices: ReadonlyMap<number, TensorSpec>): boolean {
  const first = slices.get(0);
  if (first === undefined || first.shape.length !== 2) return false;
  return Array.from({ length: slices.size }, (_, i) => slices.get(i)).every(
    slice => slice?.dtype === first.dtype && slice.shape.join() === first.shape.join(),
  );
}
