/** Slopes of attention biases by distance (Press et al., arXiv 2108.12409, section 3), as modelling codes compute them. */

/** BLOOM's and Falcon's: powers of 2^(-8 / n) for the largest power of two n up to `heads`, then every other one of 2 n. */
export function alibiSlopes(heads: number): number[] {
  const closest = 2 ** Math.floor(Math.log2(heads));
  const base = 2 ** -(2 ** -(Math.log2(closest) - 3));
  const further = 2 ** -(2 ** -(Math.log2(2 * closest) - 3));
  return Array.from({ length: heads }, (_, head) =>
    Math.fround(head < closest ? base ** (head + 1) : further ** (2 * (head - closest) + 1)),
  );
}

/** MPT's: those of the power of two from `heads` on, every second one first. */
export function mptSlopes(heads: number, most: number): number[] {
  const count = 2 ** Math.ceil(Math.log2(heads));
  const slopes = Array.from({ length: count }, (_, head) => Math.fround(2 ** (-(head + 1) * (most / count))));
  if (count === heads) return slopes;
  const [odd, even] = [slopes.filter((_, i) => i % 2 === 1), slopes.filter((_, i) => i % 2 === 0)];
  return [...odd, ...even].slice(0, heads);
}
