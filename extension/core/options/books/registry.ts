/**
 * Code books by name. A new kind of book is one file beside this one and one line here: sizes, sweep, plan and packed
 * format take any book registered.
 */
import type { CodeBookKind } from './book';
import { normalFloat } from './normal-float';

export const codeBooks = { nf: normalFloat } as const satisfies Record<string, CodeBookKind>;

export type BookId = keyof typeof codeBooks;

const cache = new Map<string, { bits: number; levels: Float32Array }>();

/** The book in the precision the native module computes with. Treat as read-only: it is shared. */
export function nativeBook(book: BookId, bits: number): { bits: number; levels: Float32Array } {
  const key = `${book}${bits}`;
  let found = cache.get(key);
  if (!found) {
    found = { bits, levels: Float32Array.from(codeBooks[book].levels(bits)) };
    cache.set(key, found);
  }
  return found;
}
