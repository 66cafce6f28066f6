/**
 * One field of a request: what values it takes, what it is for, and how it is said on the command line. A request is a
 * table of such fields; its type, its check at every boundary, its flags with their help, and the line to copy follow.
 */
import * as v from 'valibot';
import { LqError } from '../errors';

/** Flags as a command line gave them: text, a switch that is on, or the texts of a repeated flag. */
export type Given = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

export interface Flag {
  /** Names what the flag takes, in help; without it the flag is a switch. */
  readonly value?: string;
  readonly multiple?: boolean;
  readonly description: string;
}

/** How a field is said. A field without this is only sent by programs. */
export interface Spoken<T> {
  /** By name, without the dashes. Most fields have one flag, a budget has one for each of its kinds. */
  readonly flags: Readonly<Record<string, Flag>>;
  /** The value the flags give, undefined when none was given. @throws LqError 'usage' naming the flag. */
  read(given: Given, resolve: (path: string) => string): T | undefined;
  /** The words that `read` turns back into the value. */
  words(value: T): string[];
}

export interface Field<S extends v.GenericSchema = v.GenericSchema> {
  readonly schema: S;
  readonly spoken?: Spoken<v.InferOutput<S>>;
  /** The positional argument of the command, under this name in its help. */
  readonly positional?: string;
  /** Whether that argument is a word; it is a path otherwise. */
  readonly word?: boolean;
}

const usage = (message: string): LqError => new LqError('usage', message);
const textOf = (given: Given, name: string): string | undefined => {
  const value = given[name];
  return typeof value === 'string' ? value : undefined;
};
const textsOf = (given: Given, name: string): string[] | undefined => {
  const value = given[name];
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : undefined;
};

/** A file or folder; what the command line gives is made absolute. */
export const path = v.pipe(v.string(), v.nonEmpty('expected a path'));

export function pathFlag(name: string, value: string, description: string): Spoken<string> {
  return {
    flags: { [name]: { value, description } },
    read(given, resolve) {
      const text = textOf(given, name);
      return text === undefined ? undefined : resolve(text);
    },
    words: text => [`--${name}`, text],
  };
}

export function textFlag(name: string, value: string, description: string): Spoken<string> {
  return {
    flags: { [name]: { value, description } },
    read: given => textOf(given, name),
    words: text => [`--${name}`, text],
  };
}

/** A number's bounds are those of the schema it goes with; here only its form is checked. */
export function numberFlag(name: string, value: string, description: string): Spoken<number> {
  return {
    flags: { [name]: { value, description } },
    read(given) {
      const text = textOf(given, name);
      return text === undefined ? undefined : toNumber(name, text);
    },
    words: number => [`--${name}`, `${number}`],
  };
}

function toNumber(name: string, text: string): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number)) throw usage(`--${name} must be a number, not "${text}".`);
  return number;
}

export function switchFlag(name: string, description: string): Spoken<boolean> {
  return {
    flags: { [name]: { description } },
    read: given => (given[name] === true ? true : undefined),
    words: on => (on ? [`--${name}`] : []),
  };
}

/** One of a closed set of words. */
export function choiceFlag<const T extends string>(
  name: string,
  choices: readonly T[],
  description: string,
): Spoken<T> {
  return {
    flags: { [name]: { value: choices.join('|'), description } },
    read(given) {
      const text = textOf(given, name);
      const found = choices.find(choice => choice === text);
      if (text !== undefined && found === undefined)
        throw usage(`--${name} must be one of ${choices.join(', ')}, not "${text}".`);
      return found;
    },
    words: choice => [`--${name}`, choice],
  };
}

/** A flag that may be repeated, each time with one item. */
export function listFlag<T>(
  name: string,
  value: string,
  description: string,
  item: { read(text: string): T; write(item: T): string },
): Spoken<T[]> {
  return {
    flags: { [name]: { value, multiple: true, description } },
    read: given => textsOf(given, name)?.map(text => item.read(text)),
    words: items => items.flatMap(each => [`--${name}`, item.write(each)]),
  };
}

/** Files or folders, one each time the flag is given. */
export const pathsFlag = (name: string, value: string, description: string): Spoken<string[]> => ({
  ...listFlag(name, value, description, asIs),
  read: (given, resolve) => textsOf(given, name)?.map(resolve),
});

/** A list of numbers in one word: `0,8,16`. */
export function numbersFlag(name: string, value: string, description: string): Spoken<number[]> {
  return {
    flags: { [name]: { value, description } },
    read: given =>
      textOf(given, name)
        ?.split(',')
        .map(text => toNumber(name, text)),
    words: numbers => [`--${name}`, numbers.join(',')],
  };
}

export const asIs = { read: (text: string): string => text, write: (text: string): string => text };

/** A whole number of at least `minimum`. */
export const whole = (minimum: number) =>
  v.pipe(v.number(), v.safeInteger('expected a whole number'), v.minValue(minimum, `expected at least ${minimum}`));
