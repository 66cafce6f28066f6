/**
 * Regular expressions of other people's configurations, in the syntax Python has. They are strangers' and may be made to
 * take forever, so a library runs them whose time grows with the text alone (RE2).
 */
import { RE2JS } from 're2js';

const compiled = new Map<string, RE2JS | undefined>();

/** True when the whole text matches. False for an expression that cannot be used: one with look-around, or a broken one. */
export function matchesWhole(pattern: string, text: string): boolean {
  let expression = compiled.get(pattern);
  if (!compiled.has(pattern)) {
    try {
      expression = RE2JS.compile(pattern);
    } catch {
      expression = undefined;
    }
    compiled.set(pattern, expression);
  }
  return expression?.matches(text) ?? false;
}
