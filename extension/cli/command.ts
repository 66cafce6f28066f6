/** What a subcommand is, and how its arguments are read. */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { LqError } from '../core/errors';
import type { JobSettings } from '../core/requests/types';
import type { EngineClient } from '../protocol/client';
import type { Terminal } from './terminal';

/** An option: `value` names what it takes; without it the option is a switch. */
export interface OptionSpec {
  value?: string;
  multiple?: boolean;
  description: string;
}

export type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

/** What a command runs with. */
export interface Invocation {
  positionals: readonly string[];
  values: Values;
  /** --threads, --device, --cache, --seed. */
  settings: JobSettings;
  engine: EngineClient;
  terminal: Terminal;
  signal: AbortSignal;
}

export interface Command {
  name: string;
  summary: string;
  /** Names of the positional arguments, for help and for counting them. */
  arguments: readonly string[];
  options: Readonly<Record<string, OptionSpec>>;
  examples?: readonly string[];
  /** Returns what `--json` prints; prints its own text through the terminal otherwise. */
  run(invocation: Invocation): Promise<unknown>;
}

export const COMMON: Readonly<Record<string, OptionSpec>> = {
  threads: { value: 'N', description: 'worker threads (default: all cores)' },
  device: { value: 'auto|cpu|cuda|cuda:N', description: 'where to compute (default: auto)' },
  cache: {
    value: 'DIR',
    description: 'where reusable results are kept (default: $LQ_STUDIO_CACHE or ~/.cache/lq-studio)',
  },
  seed: { value: 'N', description: 'seed of the randomised factorisation (default: 0)' },
  json: { description: 'print the result, or the error, as JSON on stdout' },
  help: { description: 'show this help' },
};

/** Target selection, shared by everything that works on matrices. */
export const SELECTION: Readonly<Record<string, OptionSpec>> = {
  include: { value: 'GLOB', multiple: true, description: 'compress only matrices whose name matches (repeatable)' },
  exclude: { value: 'GLOB', multiple: true, description: 'leave matching matrices alone (repeatable)' },
};

/** Rules for some matrices, within the budget. */
export const OVERRIDES: Readonly<Record<string, OptionSpec>> = {
  override: {
    value: 'GLOB=MIN:MAX',
    multiple: true,
    description: 'bits of a code that matching matrices get at least and at most; either may be empty (repeatable)',
  },
};

export const BUDGET: Readonly<Record<string, OptionSpec>> = {
  bits: { value: 'B', description: 'budget in bits per target weight, codes and scales (the paper’s)' },
  'effective-bits': { value: 'B', description: 'budget in bits per target weight, low-rank factors included' },
  size: { value: 'SIZE', description: 'budget in bytes of the exported tensors: 1.5GB, 800MiB, …' },
};

/** Parses a command's arguments strictly; `usage` names what is wrong. */
export function parse(command: Command, args: readonly string[]): { positionals: string[]; values: Values } {
  const options: NonNullable<ParseArgsConfig['options']> = {};
  for (const [name, spec] of Object.entries({ ...command.options, ...COMMON }))
    options[name] = { type: spec.value === undefined ? 'boolean' : 'string', multiple: spec.multiple ?? false };
  try {
    const { positionals, values } = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
    if (values['help'] !== true && positionals.length !== command.arguments.length)
      throw new LqError('usage', `${command.name} takes ${describeArguments(command)}; see --help.`);
    return { positionals, values };
  } catch (error) {
    throw error instanceof LqError ? error : new LqError('usage', (error as Error).message);
  }
}

function describeArguments(command: Command): string {
  return command.arguments.length === 0 ? 'no arguments' : command.arguments.join(' ');
}

export function text(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}

export function list(values: Values, name: string): string[] | undefined {
  const value = values[name];
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : undefined;
}

/** A number option; `usage` when it is not one or is under `minimum`. */
export function number(values: Values, name: string, minimum = 0): number | undefined {
  const value = text(values, name);
  if (value === undefined) return undefined;
  const parsed = Number(value);
  if (value.trim() === '' || !Number.isFinite(parsed) || parsed < minimum)
    throw new LqError('usage', `--${name} must be a number of at least ${minimum}, not "${value}".`);
  return parsed;
}

export function integer(values: Values, name: string, minimum = 0): number | undefined {
  const parsed = number(values, name, minimum);
  if (parsed !== undefined && !Number.isSafeInteger(parsed))
    throw new LqError('usage', `--${name} must be a whole number, not "${text(values, name)}".`);
  return parsed;
}

export function required(values: Values, name: string): string {
  const value = text(values, name);
  if (value === undefined) throw new LqError('usage', `--${name} is required; see --help.`);
  return value;
}

/** Drops undefined members, so that optional protocol fields stay absent. */
export function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}

/** The help page of one command. */
export function help(command: Command): string {
  const lines = [
    `Usage: lq-studio ${[command.name, ...command.arguments].join(' ')} [options]`,
    '',
    command.summary,
    '',
    ...optionLines('Options', command.options),
    ...optionLines('Common options', COMMON),
  ];
  if (command.examples !== undefined) lines.push('Examples:', ...command.examples.map(line => `  ${line}`), '');
  return lines.join('\n');
}

function optionLines(title: string, options: Readonly<Record<string, OptionSpec>>): string[] {
  const names = Object.entries(options).map(
    ([name, spec]) => [`--${name}${spec.value === undefined ? '' : ` ${spec.value}`}`, spec.description] as const,
  );
  if (names.length === 0) return [];
  const width = Math.max(...names.map(([name]) => name.length));
  return [`${title}:`, ...names.map(([name, description]) => `  ${name.padEnd(width)}  ${description}`), ''];
}
