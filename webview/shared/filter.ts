/** Fuzzy filtering of names as in the editor's own lists: every word must match, as a piece or as letters in order. */

const subsequence = (word: string, text: string): boolean => {
  let at = 0;
  for (const letter of word) {
    at = text.indexOf(letter, at);
    if (at < 0) return false;
    at += 1;
  }
  return true;
};

/** Rows that match, whole pieces before scattered letters, otherwise in their own order. */
export function filterRows<T>(rows: readonly T[], text: (row: T) => string, query: string): readonly T[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  const exact: T[] = [];
  const scattered: T[] = [];
  for (const row of rows) {
    const name = text(row).toLowerCase();
    if (words.every(word => name.includes(word))) exact.push(row);
    else if (words.every(word => subsequence(word, name))) scattered.push(row);
  }
  return [...exact, ...scattered];
}
