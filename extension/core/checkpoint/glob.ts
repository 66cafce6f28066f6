import picomatch from 'picomatch';
import { LqError } from '../errors';

/**
 * Globs over tensor names, with the syntax of shells: `*` is any run of characters, dots included; `?` one character,
 * `[0-3]` one of a set, `{q,k}_proj` an alternative. The whole name must match, with or without its `.weight`.
 * @throws LqError 'usage' for an empty or unusable pattern.
 */
export function globMatcher(pattern: string): (name: string) => boolean {
  let matches: (name: string) => boolean;
  try {
    // Names are not paths of this machine, so the separators must not depend on it; a leading dot is not hidden.
    matches = picomatch(pattern, { windows: false, dot: true, strictBrackets: true });
  } catch (error) {
    throw new LqError('usage', `not a usable pattern: ${JSON.stringify(pattern)}: ${(error as Error).message}`);
  }
  return name => matches(name) || (name.endsWith('.weight') && matches(name.slice(0, -'.weight'.length)));
}

/** True for names that any of the globs matches. */
export function anyGlob(patterns: readonly string[]): (name: string) => boolean {
  const matchers = patterns.map(globMatcher);
  return name => matchers.some(matches => matches(name));
}
