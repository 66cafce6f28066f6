/** From the fields of a request to its check, its flags and its command line. */
import * as v from 'valibot';
import { LqError } from '../errors';
import type { Field, Flag, Given } from './field';

type Fields = Readonly<Record<string, Field>>;
type Entries<F extends Fields> = { [K in keyof F]: F[K]['schema'] };

/** What a request must satisfy beyond its fields: a sentence when it does not. */
export type Rule<T> = (request: T) => string | undefined;

export interface RequestDescription<T> {
  /** What the command line calls it. */
  readonly command: string;
  /** Its flags by name, in the order of help. */
  readonly flags: Readonly<Record<string, Flag>>;
  /** For messages that carry a request. */
  readonly schema: v.GenericSchema<unknown, T>;
  /** Names of its positional arguments. */
  readonly positionals: readonly string[];
  /** The value when it is a whole and valid request. @throws LqError 'usage' naming the field. */
  check(value: unknown): T;
  /** Where and what is wrong, or undefined. */
  problem(value: unknown): string | undefined;
  /** What is wrong by field, for a form. */
  problems(value: unknown): Readonly<Record<string, string>>;
  /** The request that a command line says. `resolve` makes paths absolute. @throws LqError 'usage'. */
  read(positionals: readonly string[], given: Given, resolve: (path: string) => string): T;
  /** Command, positional arguments and flags that `read` turns back into the request. */
  words(request: T): string[];
}

/**
 * Describes a request once. The type of the result is the request's type.
 * @param command its command's name on the command line
 * @param rules hold between fields; checked when each field is right
 */
export function describeRequest<const F extends Fields>(
  command: string,
  fields: F,
  rules: readonly Rule<v.InferOutput<v.StrictObjectSchema<Entries<F>, undefined>>>[] = [],
): RequestDescription<v.InferOutput<v.StrictObjectSchema<Entries<F>, undefined>>> {
  type T = v.InferOutput<v.StrictObjectSchema<Entries<F>, undefined>>;
  const names = Object.keys(fields);
  const entries = Object.fromEntries(names.map(name => [name, fields[name]!.schema])) as Entries<F>;
  const schema = v.pipe(
    v.strictObject(entries),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      for (const rule of rules) {
        const message = rule(dataset.value);
        if (message !== undefined) return addIssue({ message });
      }
    }),
  );
  const spoken = names.flatMap(name => {
    const { spoken: said } = fields[name]!;
    return said === undefined ? [] : [{ name, said }];
  });
  const positional = names.filter(name => fields[name]!.positional !== undefined);

  /** The first fault, with the name of the flag where the field has one. */
  const problem = (value: unknown): string | undefined => {
    const result = v.safeParse(schema, value, { abortEarly: true });
    return result.success ? undefined : describeIssue(result.issues[0]);
  };
  const check = (value: unknown): T => {
    const wrong = problem(value);
    if (wrong !== undefined) throw new LqError('usage', `${command}: ${wrong}.`);
    return value as T;
  };
  return {
    command,
    schema: schema,
    flags: Object.assign({}, ...spoken.map(({ said }) => said.flags)) as Record<string, Flag>,
    positionals: positional.map(name => fields[name]!.positional!),
    check,
    problem,
    problems(value) {
      const result = v.safeParse(schema, value);
      const found: Record<string, string> = {};
      for (const issue of result.issues ?? []) {
        const [field] = (v.getDotPath(issue) ?? '').split('.');
        found[field!] ??= sentence(issue);
      }
      return found;
    },
    read(positionals, given, resolve) {
      const request: Record<string, unknown> = {};
      positional.forEach((name, i) => {
        request[name] = fields[name]!.word === true ? positionals[i]! : resolve(positionals[i]!);
      });
      for (const { name, said } of spoken) {
        const value = said.read(given, resolve);
        if (value !== undefined) request[name] = value;
      }
      for (const { name, said } of spoken) {
        const [flag] = Object.keys(said.flags);
        const several = Object.keys(said.flags).map(each => `--${each}`);
        if (request[name] !== undefined) {
          const result = v.safeParse(fields[name]!.schema, request[name], { abortEarly: true });
          if (!result.success) throw new LqError('usage', `--${flag}: ${sentence(result.issues[0])}.`);
        } else if (fields[name]!.schema.type !== 'exact_optional') {
          throw new LqError('usage', `${several.join(' or ')} is required; see --help.`);
        }
      }
      return check(request);
    },
    words(request) {
      const values = request as Record<string, unknown>;
      return [
        command,
        ...positional.map(name => values[name] as string),
        ...spoken.flatMap(({ name, said }) => (values[name] === undefined ? [] : said.words(values[name] as never))),
      ];
    },
  };
}

/** Where and what, such as `budget.value: expected a number, not null`. */
export function describeIssue(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue);
  return path === null ? sentence(issue) : `${path}: ${sentence(issue)}`;
}

function sentence(issue: v.BaseIssue<unknown>): string {
  if (issue.kind !== 'schema') return issue.message;
  if (issue.expected === 'never') return 'there is no such field';
  if (issue.type === 'strict_object' && issue.received === 'undefined') return 'is missing';
  return `expected ${issue.expected ?? 'another value'}, not ${issue.received}`;
}

/** The type of a described request. */
export type RequestOf<D> = D extends RequestDescription<infer T> ? T : never;
