/** `lq-studio`: the pipeline without an editor. Starts the same engine, speaks the same protocol. */
import path from 'node:path';
import { LqError } from '../core/errors';
import { printable, printableJson, shortened } from '../core/text';
import { createEngineClient } from '../engine/client';
import { cacheFolder } from '../node/cache';
import type { Given } from '../core/requests/field';
import { help, parse, type Command } from './command';
import { commands } from './commands';
import { Terminal } from './terminal';

/** Exit codes: 0 done, 1 failed, 2 wrong use, 130 cancelled (as shells report an interrupt). */
const EXIT = { failed: 1, usage: 2, cancelled: 130 };

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    process.stdout.write(overview());
    return name === undefined ? EXIT.usage : 0;
  }
  const json = args.includes('--json');
  const terminal = new Terminal(json);
  try {
    const command = commands.find(({ request }) => request.command === name);
    if (command === undefined) throw new LqError('usage', `There is no command "${name}"; see lq-studio --help.`);
    const { positionals, given } = parse(command, rest);
    if (given['help'] === true) {
      process.stdout.write(help(command));
      return 0;
    }
    await execute(command, positionals, given, terminal);
    return 0;
  } catch (error) {
    return fail(LqError.from(error), terminal);
  }
}

async function execute(command: Command, positionals: string[], given: Given, terminal: Terminal): Promise<void> {
  const request = command.request.read(positionals, { cache: cacheFolder(), ...given }, file => path.resolve(file));
  const abort = new AbortController();
  const engine = createEngineClient({
    entry: path.join(__dirname, 'engine.js'),
    client: 'cli',
    onLog: (_, message) => terminal.note(message),
  });
  // The first Ctrl-C asks the engine to stop at a resumable point; the second does not wait for it.
  const interrupt = (): void => {
    if (abort.signal.aborted) process.exit(EXIT.cancelled);
    terminal.note('Stopping; what is finished is kept. Press Ctrl-C again to stop at once.');
    abort.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const result = await command.run({ request, engine, terminal, signal: abort.signal });
    terminal.clear();
    if (terminal.json) process.stdout.write(`${printableJson(result, 2)}\n`);
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    engine.dispose();
  }
}

function fail(error: LqError, terminal: Terminal): number {
  terminal.clear();
  if (terminal.json) process.stdout.write(`${printableJson({ error: error.toJSON() }, 2)}\n`);
  else {
    const place = [error.file, error.tensor]
      .filter(part => part !== undefined && !error.message.includes(part))
      .map(part => shortened(part as string, 200));
    const where = place.length > 0 ? ` (${place.join(', ')})` : '';
    process.stderr.write(`${printable(`lq-studio: ${error.message}${where} [${error.code}]`)}\n`);
  }
  if (error.code === 'cancelled') return EXIT.cancelled;
  return error.code === 'usage' ? EXIT.usage : EXIT.failed;
}

function overview(): string {
  const width = Math.max(...commands.map(({ request }) => request.command.length));
  return [
    'lq-studio: inspect model checkpoints and compress them (W = Q + L1 L2, a bit budget, one plan).',
    '',
    'Usage: lq-studio COMMAND [options]',
    '',
    ...commands.map(command => `  ${command.request.command.padEnd(width)}  ${command.summary}`),
    '',
    'lq-studio COMMAND --help shows the options of one command.',
    '',
  ].join('\n');
}

// Standard output may be a closed pipe (`| head`); that is no error of ours.
process.stdout.on('error', () => process.exit(0));
main(process.argv.slice(2)).then(
  code => {
    process.exitCode ||= code;
  },
  (error: unknown) => {
    process.stderr.write(`lq-studio: ${String(error)}\n`);
    process.exitCode = EXIT.failed;
  },
);
