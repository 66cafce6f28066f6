/** Orders of rows in GGUF files that are not those of transformers: which row each stored one is. */
import { LqError } from '../../errors';
import { quoteName } from '../../text';
import type { Architecture } from './architectures/architecture';
import { placeOfTensor } from './architectures/names';

/** Heads of queries and of keys and values. */
export interface Heads {
  readonly heads: number;
  readonly kvHeads: number;
}

/**
 * The order of a tensor's rows, or of a bias's elements, where it is another.
 * @param rows how many there are
 * @param heads asked for where the order depends on them
 * @throws LqError 'header-entry' where the rows do not divide into heads.
 */
export function rowOrder(
  architecture: Architecture | undefined,
  name: string,
  rows: number,
  heads: () => Heads,
): Int32Array | undefined {
  if (architecture === undefined || (!architecture.paired && !architecture.stacks)) return undefined;
  const [, kind] = /^(.+?)(?:_bias)?$/.exec(placeOfTensor(architecture, name)?.kind ?? '') ?? [];
  const divided = (parts: number): void => {
    if (rows % parts !== 0)
      throw new LqError('header-entry', `${quoteName(name)}: ${rows} rows do not divide into heads`, { tensor: name });
  };
  if (architecture.paired && (kind === 'q' || kind === 'k')) {
    const count = heads()[kind === 'q' ? 'heads' : 'kvHeads'];
    divided(2 * count);
    return pairs(rows, count);
  }
  if (!architecture.stacks || kind !== 'qkv') return undefined;
  const counts = heads();
  divided(counts.heads + 2 * counts.kvHeads);
  return stacked(rows, counts);
}

/** Pairs of a head one after another: (head, pair, half) of what is (head, half, pair). */
function pairs(rows: number, heads: number): Int32Array {
  const head = rows / heads;
  return Int32Array.from({ length: rows }, (_, i) => {
    const within = i % head;
    return i - within + (within % 2) * (head / 2) + Math.floor(within / 2);
  });
}

/** All queries, then all keys, then all values, of what are groups of the queries that share a key and a value, and these. */
function stacked(rows: number, { heads, kvHeads }: Heads): Int32Array {
  const size = rows / (heads + 2 * kvHeads);
  const shared = heads / kvHeads;
  const group = (shared + 2) * size;
  return Int32Array.from({ length: rows }, (_, i) => {
    const head = Math.floor(i / size);
    if (head < heads) return Math.floor(head / shared) * group + (head % shared) * size + (i % size);
    const [kv, of] = head < heads + kvHeads ? [head - heads, 0] : [head - heads - kvHeads, 1];
    return kv * group + (shared + of) * size + (i % size);
  });
}
