import type { PlanOverride } from '../../core/allocation/types';
import type { Budget } from '../../core/options/budget';
import type {
  CompressRequest,
  MethodRequest,
  EvaluateRequest,
  ExportRequest,
  JobSettings,
  SweepRequest,
} from '../../core/requests/types';
import type { CommandLine } from '../../protocol/panels';

/** What can be said as a command: what panels ask for, and exports, which have no panel. */
export type Command = CommandLine | { command: 'export'; request: ExportRequest };

/** The `lq-studio` command that does what was clicked, quoted for a POSIX shell. */
export function commandLine(command: Command): string {
  return ['lq-studio', ...words(command).map(quoted)].join(' ');
}

function words(command: Command): string[] {
  switch (command.command) {
    case 'inspect':
      return ['inspect', command.model];
    case 'stats':
      return ['stats', command.model, ...option('tensor', command.tensor)];
    case 'compress':
      return compressWords(command.request);
    case 'sweep':
      return sweepWords(command.request);
    case 'plan':
      return [
        'plan',
        command.sweep,
        ...budgetWords(command.budget),
        ...option('factors', command.factors),
        ...overrideWords(command.overrides),
      ];
    case 'evaluate':
      return evaluateWords(command.request);
    case 'compare':
      return ['compare', command.a, command.b, ...flag('structure', !command.values)];
    case 'export':
      return [
        'export',
        command.request.model,
        ...option('format', command.request.format),
        ...option('out', command.request.out),
        ...flag('overwrite', command.request.overwrite),
        ...settingWords(command.request),
      ];
  }
}

function methodWords({ method, metric, ranks, states, tailBiting }: MethodRequest): string[] {
  return [
    ...option('method', method),
    ...option('metric', metric),
    ...option('rank', ranks?.join(',')),
    ...option('states', states),
    ...flag('tail-biting', tailBiting),
  ];
}

function compressWords(request: CompressRequest): string[] {
  return [
    'compress',
    request.model,
    ...option('out', request.out),
    ...budgetWords(request.budget),
    ...methodWords(request),
    ...option('calibration', request.calibration),
    ...option('samples', request.calibration === undefined ? undefined : request.samples),
    ...option('fisher', request.fisher),
    ...flag('plain', request.plain),
    ...option('scales', request.scales),
    ...option('iterations', request.iterations),
    ...option('patience', request.patience),
    ...option('factors', request.factors),
    ...option('eval-text', request.evalText),
    ...option('context', request.context),
    ...option('windows', request.windows),
    ...globs(request),
    ...overrideWords(request.overrides ?? []),
    ...option('format', request.format),
    ...flag('overwrite', request.overwrite),
    ...settingWords(request),
  ];
}

function sweepWords(request: SweepRequest): string[] {
  return [
    'sweep',
    request.model,
    ...methodWords(request),
    ...(request.fisher === undefined ? ['--plain'] : ['--fisher', request.fisher]),
    ...option('scales', request.scales),
    ...option('iterations', request.iterations),
    ...option('patience', request.patience),
    ...globs(request),
    ...option('out', request.out ?? 'sweep.json'),
    ...settingWords(request),
  ];
}

function evaluateWords(request: EvaluateRequest): string[] {
  return [
    'eval',
    request.model,
    ...option('text', request.text),
    ...option('context', request.context),
    ...option('windows', request.windows),
    ...flag('bos', request.bos),
    ...settingWords(request),
  ];
}

const budgetFlags: Record<Budget['kind'], string> = {
  bits: '--bits',
  'effective-bits': '--effective-bits',
  bytes: '--size',
};
const budgetWords = (budget: Budget): string[] => [
  budgetFlags[budget.kind],
  budget.kind === 'bytes' ? `${Math.round(budget.value)}` : `${+budget.value.toFixed(6)}`,
];

const overrideWords = (overrides: readonly PlanOverride[]): string[] =>
  overrides.flatMap(({ match, minBits, maxBits }) => ['--override', `${match}=${minBits ?? ''}:${maxBits ?? ''}`]);

const globs = (request: { include?: string[]; exclude?: string[] }): string[] => [
  ...(request.include ?? []).flatMap(glob => ['--include', glob]),
  ...(request.exclude ?? []).flatMap(glob => ['--exclude', glob]),
];

const settingWords = (settings: JobSettings): string[] => [
  ...option('device', settings.device === 'auto' ? undefined : settings.device),
  ...option('threads', settings.threads === 0 ? undefined : settings.threads),
  ...option('cache', settings.cache),
  ...option('seed', settings.seed),
];

const option = (name: string, value: string | number | undefined): string[] =>
  value === undefined ? [] : [`--${name}`, `${value}`];
const flag = (name: string, value: boolean | undefined): string[] => (value === true ? [`--${name}`] : []);

/** Single quotes unless every character is harmless in a shell. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
