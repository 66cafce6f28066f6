/** Experts that no token of a calibration text was routed to: statistics know nothing of them. */

/** Named in a warning; the rest are counted. */
const NAMED = 20;

/**
 * The warning about matrices without statistics, none where there are no such matrices.
 * @param consequence what is done about them, beginning with a verb
 */
export function unreachedWarning(names: readonly string[], consequence: string): string[] {
  if (names.length === 0) return [];
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
  return [`No token of the calibration text reached ${names.slice(0, NAMED).join(', ')}${more}: they ${consequence}.`];
}
