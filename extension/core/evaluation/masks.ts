/** Masked tokens of models that predict those: BERT and its kind. */

/** Share of a window's tokens that are predicted, as BERT was trained (arXiv 1810.04805, section 3.1). */
const SHARE = 0.15;
/** Windows are masked alike in every run, and each in its own way. */
const SEED = 0x9e3779b9;

/** Numbers in [0, 1) from a seed (mulberry32, public domain). */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Masks as many tokens in each row of tokens [windows, context], in place: t becomes ~t, which native code reads as the
 * mask's id at a place where t is to be predicted. All are masked, none replaced by others: what is measured is then
 * p(token | all that are not masked).
 * @param from first place of a row that may be masked
 * @param to end of those places
 * @returns how many of a row are masked, one at least
 */
export function maskTokens(tokens: Int32Array, context: number, from: number, to: number): number {
  const count = Math.max(1, Math.round(SHARE * (to - from)));
  for (let row = 0; row * context < tokens.length; row++) {
    const next = random(SEED + row);
    const places = Array.from({ length: to - from }, (_, i) => from + i);
    for (let i = 0; i < count; i++) {
      const j = i + Math.floor(next() * (places.length - i));
      [places[i], places[j]] = [places[j]!, places[i]!];
      const at = row * context + places[i]!;
      tokens[at] = ~tokens[at]!;
    }
  }
  return count;
}
