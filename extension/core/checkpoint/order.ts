/** Natural order: runs of digits compare as numbers, so that layers.2 comes before layers.10. */

const isDigit = (code: number): boolean => code >= 48 && code <= 57;

/** Compares by code unit, digit runs by value; a total order (equal only for identical strings). */
export function compareNatural(a: string, b: string): number {
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(j);
    if (isDigit(x) && isDigit(y)) {
      const runA = digitRun(a, i);
      const runB = digitRun(b, j);
      // Without leading zeros a longer run is a larger number, and equal lengths compare as text: exact at any length.
      if (runA.digits.length !== runB.digits.length) return runA.digits.length - runB.digits.length;
      if (runA.digits !== runB.digits) return runA.digits < runB.digits ? -1 : 1;
      i = runA.end;
      j = runB.end;
    } else {
      if (x !== y) return x - y;
      i++;
      j++;
    }
  }
  return a.length - i - (b.length - j) || (a < b ? -1 : a > b ? 1 : 0);
}

function digitRun(text: string, from: number): { digits: string; end: number } {
  let start = from;
  while (text.charCodeAt(start) === 48 && isDigit(text.charCodeAt(start + 1))) start++;
  let end = start;
  while (end < text.length && isDigit(text.charCodeAt(end))) end++;
  return { digits: text.slice(start, end), end };
}
