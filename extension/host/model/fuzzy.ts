/**
 * Fuzzy matching of tensor names: the characters of every word of the query occur in the text in order, whatever the
 * case. Runs of neighbours and starts of segments (after `.`, `_`, `/`, `-` or a digit boundary) score higher.
 */
export interface FuzzyMatch {
  /** Higher is better; only comparable between texts matched with one query. */
  score: number;
  /** Indices into the text that matched, ascending. */
  positions: number[];
}

/** A query split once, to be matched against many names. */
export type FuzzyQuery = readonly string[];

export function parseQuery(query: string): FuzzyQuery {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

/** Undefined when any word of the query does not occur. An empty query matches everything with score 0. */
export function fuzzyMatch(query: FuzzyQuery, text: string): FuzzyMatch | undefined {
  const lower = text.toLowerCase();
  const positions = new Set<number>();
  let score = 0;
  for (const word of query) {
    const match = matchWord(word, lower);
    if (!match) return undefined;
    score += match.score;
    for (const position of match.positions) positions.add(position);
  }
  return { score, positions: [...positions].sort((a, b) => a - b) };
}

/** Tensors whose names match, the best first, with the letters that did. */
export function matchingTensors<T extends { name: string }>(
  tensors: readonly T[],
  query: string,
): { tensor: T; positions: readonly number[] }[] {
  const words = parseQuery(query);
  return tensors
    .map(tensor => ({ tensor, match: fuzzyMatch(words, tensor.name) }))
    .filter(({ match }) => match !== undefined)
    .sort((a, b) => b.match!.score - a.match!.score)
    .map(({ tensor, match }) => ({ tensor, positions: match!.positions }));
}

/** Places at which a subsequence may start that are tried; a better one seldom comes later. */
const maxStarts = 6;

/** Best of: the word as it is, else as a subsequence taken greedily from each place it can start. */
function matchWord(word: string, text: string): FuzzyMatch | undefined {
  let best: FuzzyMatch | undefined;
  const keep = (positions: number[]) => {
    const match = scored(positions, text);
    if (!best || match.score > best.score) best = match;
  };
  for (let at = text.indexOf(word), tried = 0; at >= 0 && tried < maxStarts; at = text.indexOf(word, at + 1), tried++) {
    keep(Array.from({ length: word.length }, (_, i) => at + i));
  }
  if (best) return best;
  const first = word.charAt(0);
  for (let start = text.indexOf(first), tried = 0; start >= 0 && tried < maxStarts; tried++) {
    const positions = subsequence(word, text, start);
    if (!positions) break; // a later start has even less text
    keep(positions);
    start = text.indexOf(first, start + 1);
  }
  return best;
}

function subsequence(word: string, text: string, start: number): number[] | undefined {
  const positions: number[] = [];
  let at = start - 1;
  for (let i = 0; i < word.length; i++) {
    at = text.indexOf(word.charAt(i), at + 1);
    if (at < 0) return undefined;
    positions.push(at);
  }
  return positions;
}

function scored(positions: number[], text: string): FuzzyMatch {
  let score = 0;
  positions.forEach((position, i) => {
    score += 1;
    if (i > 0 && position === positions[i - 1]! + 1) score += 4;
    if (startsSegment(text, position)) score += 3;
  });
  // Of two equal matches the tighter one is meant.
  return { score: score - 0.01 * (positions.at(-1)! - positions[0]!), positions };
}

function startsSegment(text: string, position: number): boolean {
  if (position === 0) return true;
  const before = text.charCodeAt(position - 1);
  return separators.has(before) || isDigit(before) !== isDigit(text.charCodeAt(position));
}

const separators: ReadonlySet<number> = new Set(Array.from('._/-', each => each.charCodeAt(0)));
const isDigit = (code: number): boolean => code >= 48 && code <= 57;
