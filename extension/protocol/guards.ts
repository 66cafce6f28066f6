/**
 * Checks of untrusted values at run time, written so that the compiler keeps each in step with the interface it guards.
 * A guard returns undefined for a value it accepts, otherwise where and what was expected.
 */

export interface Guard<T> {
  (value: unknown, path: string): string | undefined;
  /** Only a type: makes Guard<string> and Guard<number> different. */
  readonly accepts?: (value: T) => T;
}

/** A longer path would carry a hostile key into a message. */
const at = (path: string, key: string): string => `${path}.${key.slice(0, 80)}`;

export function check<T>(guard: Guard<T>, value: unknown, name: string): string | undefined {
  return guard(value, name);
}

const typed =
  <T>(type: string): Guard<T> =>
  (value, path) =>
    typeof value === type ? undefined : `${path}: expected a ${type}`;

export const string: Guard<string> = typed('string');
export const boolean: Guard<boolean> = typed('boolean');

/** A finite number. */
export const number: Guard<number> = (value, path) =>
  Number.isFinite(value) ? undefined : `${path}: expected a finite number`;

/** A computed number: NaN and infinities become null on a JSON wire, and are accepted as that. */
export const measured: Guard<number> = (value, path) =>
  typeof value === 'number' || value === null ? undefined : `${path}: expected a number`;

export const integer: Guard<number> = (value, path) =>
  Number.isSafeInteger(value) ? undefined : `${path}: expected an integer`;

export const nothing: Guard<null> = (value, path) =>
  value === null || value === undefined ? undefined : `${path}: expected nothing`;

export const anything: Guard<unknown> = () => undefined;

export const oneOf =
  <const V extends readonly string[]>(...values: V): Guard<V[number]> =>
  (value, path) =>
    typeof value === 'string' && values.includes(value) ? undefined : `${path}: expected one of ${values.join(', ')}`;

export const optional =
  <T>(guard: Guard<T>): Guard<T> =>
  (value, path) =>
    value === undefined ? undefined : guard(value, path);

export const nullable =
  <T>(guard: Guard<T>): Guard<T | null> =>
  (value, path) =>
    value === null ? undefined : guard(value, path);

export const either =
  <A, B>(first: Guard<A>, second: Guard<B>): Guard<A | B> =>
  (value, path) => {
    const problem = first(value, path);
    return problem === undefined ? undefined : second(value, path) && problem;
  };

export const array =
  <T>(item: Guard<T>): Guard<T[]> =>
  (value, path) => {
    if (!Array.isArray(value)) return `${path}: expected an array`;
    for (let index = 0; index < value.length; index++) {
      const problem = item(value[index], `${path}[${index}]`);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };

/** A read-only array in the interface is an ordinary one on the wire. */
export const list = <T>(item: Guard<T>): Guard<readonly T[]> => array(item) as Guard<unknown> as Guard<readonly T[]>;

export const record =
  <T>(item: Guard<T>): Guard<Record<string, T>> =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return `${path}: expected an object`;
    for (const [key, entry] of Object.entries(value)) {
      const problem = item(entry, at(path, key));
      if (problem !== undefined) return problem;
    }
    return undefined;
  };

/** Every key of the interface must be given; optional ones with `optional`. Keys the interface lacks are ignored. */
export const object =
  <T>(shape: { [K in keyof T]-?: Guard<Exclude<T[K], undefined>> }): Guard<T> =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return `${path}: expected an object`;
    for (const key in shape) {
      const problem = shape[key]((value as Record<string, unknown>)[key], at(path, key));
      if (problem !== undefined) return problem;
    }
    return undefined;
  };

/** Objects told apart by a literal member. */
export const tagged =
  <T extends Record<K, string>, K extends string>(
    key: K,
    cases: { [V in T[K]]: Guard<Extract<T, Record<K, V>>> },
  ): Guard<T> =>
  (value, path) => {
    const tag = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
    if (typeof tag !== 'string' || !Object.prototype.hasOwnProperty.call(cases, tag)) {
      return `${at(path, key)}: expected one of ${Object.keys(cases).join(', ')}`;
    }
    return cases[tag as T[K]](value, path);
  };
