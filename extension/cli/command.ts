/** What a subcommand is: a described request, and what to do with it. */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { LqError } from '../core/errors';
import type { RequestDescription } from '../core/requests/describe';
import type { Flag, Given } from '../core/requests/field';
import { jobSettings } from '../core/requests/requests';
import type { EngineClient } from '../protocol/client';
import type { Terminal } from './terminal';

/** What a command runs with. */
export interface Invocation<T> {
  request: T;
  engine: EngineClient;
  terminal: Terminal;
  signal: AbortSignal;
}

export interface Command<T = unknown> {
  summary: string;
  /** Names the command, its arguments and its flags. */
  request: RequestDescription<T>;
  examples?: readonly string[];
  /** Returns what `--json` prints; prints its own text through the terminal otherwise. */
  run(invocation: Invocation<T>): Promise<unknown>;
}

/** A command among others, whose requests it alone knows the type of. */
export const define = <T>(command: Command<T>): Command => command;

/** Flags of every command that are not part of its request. */
const OUTPUT: Readonly<Record<string, Flag>> = {
  json: { description: 'print the result, or the error, as JSON on stdout' },
  help: { description: 'show this help' },
};

/** Parses a command's arguments strictly. @throws LqError 'usage' naming what is wrong. */
export function parse({ request }: Command, args: readonly string[]): { positionals: string[]; given: Given } {
  const options: NonNullable<ParseArgsConfig['options']> = {};
  for (const [name, flag] of Object.entries({ ...request.flags, ...OUTPUT }))
    options[name] = { type: flag.value === undefined ? 'boolean' : 'string', multiple: flag.multiple ?? false };
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new LqError('usage', (error as Error).message);
  }
  const { positionals, values } = parsed;
  if (values['help'] !== true && positionals.length !== request.positionals.length) {
    const wanted = request.positionals.length === 0 ? 'no arguments' : request.positionals.join(' ');
    throw new LqError('usage', `${request.command} takes ${wanted}; see --help.`);
  }
  return { positionals, given: values };
}

/** The help page of one command. */
export function help({ request, summary, examples }: Command): string {
  const own = Object.entries(request.flags).filter(([name]) => !(name in jobSettings.flags));
  const shared = Object.entries(request.flags).filter(([name]) => name in jobSettings.flags);
  const lines = [
    `Usage: lq-studio ${[request.command, ...request.positionals].join(' ')} [options]`,
    '',
    summary,
    '',
    ...flagLines('Options', own),
    ...flagLines('Common options', [...shared, ...Object.entries(OUTPUT)]),
  ];
  if (examples !== undefined) lines.push('Examples:', ...examples.map(line => `  ${line}`), '');
  return lines.join('\n');
}

function flagLines(title: string, flags: readonly (readonly [string, Flag])[]): string[] {
  if (flags.length === 0) return [];
  const names = flags.map(([name, { value }]) => `--${name}${value === undefined ? '' : ` ${value}`}`);
  // A flag that takes a long list of words does not push all descriptions aside.
  const width = Math.max(...names.map(({ length }) => (length > 32 ? 0 : length)));
  return [
    `${title}:`,
    ...names.flatMap((name, i) => {
      const { description } = flags[i]![1];
      return name.length > width
        ? [`  ${name}`, `  ${' '.repeat(width)}  ${description}`]
        : [`  ${name.padEnd(width)}  ${description}`];
    }),
    '',
  ];
}
