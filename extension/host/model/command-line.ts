import { sayable, type Sayable } from '../../core/requests/requests';

/** The `lq-studio` command that does what was clicked, quoted for a POSIX shell. */
export function commandLine(said: Sayable): string {
  const { words } = sayable[said.command];
  return ['lq-studio', ...words(lean(said.request) as never).map(quoted)].join(' ');
}

/** Without the settings that mean the same when they are left out. */
function lean(request: Sayable['request']): Sayable['request'] {
  const { device, threads, seed, ...rest } = request;
  return {
    ...rest,
    ...(device !== undefined && device !== 'auto' && { device }),
    ...(threads !== undefined && threads !== 0 && { threads }),
    ...(seed !== undefined && seed !== 0 && { seed }),
  };
}

/** Single quotes unless every character is harmless in a shell. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
