/**
 * Tensors of three dimensions that hold one matrix after another, such as the experts of a layer. They are compressed matrix
 * by matrix: for that, such a tensor stands for its slices, `NAME[0]`, `NAME[1]` and so on, and is put together again when
 * it is written densely.
 */
import type { TensorPlace, TensorSpec } from './serialize';
import type { CheckpointIndex } from './types';

const SLICE = /^(.+)\[(\d+)\]$/;

/** The matrices of a tensor [count, rows, cols] as tensors of their own, which lie one after another in its bytes. */
export function slicesOf<T extends Pick<TensorPlace, 'name' | 'shape' | 'offset' | 'bytes'>>(tensor: T): T[] {
  const [count = 0, ...shape] = tensor.shape;
  const bytes = tensor.bytes / count;
  return Array.from({ length: count }, (_, i) => ({
    ...tensor,
    name: `${tensor.name}[${i}]`,
    shape,
    offset: tensor.offset + i * bytes,
    bytes,
  }));
}

/** A checkpoint in which every tensor that one of `names` is a slice of is replaced by all its slices. */
export function sliceTensors(index: CheckpointIndex, names: readonly string[]): CheckpointIndex {
  const sliced = new Set<string>();
  for (const name of names) {
    const whole = SLICE.exec(name)?.[1];
    if (whole !== undefined && !index.byName.has(name) && index.byName.has(whole)) sliced.add(whole);
  }
  if (sliced.size === 0) return index;
  const tensors = index.tensors.flatMap(tensor => (sliced.has(tensor.name) ? slicesOf(tensor) : [tensor]));
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
