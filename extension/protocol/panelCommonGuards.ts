/** Run-time checks of what all panels share. */
import type { RequestGuards } from './channel';
import {
  array,
  boolean,
  integer,
  measured,
  nothing,
  number,
  object,
  oneOf,
  optional,
  string,
  tagged,
  type Guard,
} from './guards';
import type * as P from './panelCommon';
import {
  role,
  factors,
  shape,
  budget,
  override,
  compressRequest,
  sweepRequest,
  evaluateRequest,
} from './panelValueGuards';

export const header: Guard<P.ModelHeader> = object<P.ModelHeader>({
  path: string,
  label: string,
  architecture: optional(string),
  parameters: number,
  dtype: string,
  bytes: number,
  bitsPerWeight: measured,
  files: integer,
  tensors: integer,
  compressed: boolean,
});
export const targetShape: { [K in keyof P.TargetMatrix]-?: Guard<P.TargetMatrix[K]> } = {
  name: string,
  role,
  layer: integer,
  shape,
};
export const destination: Guard<P.Destination> = object<P.Destination>({
  to: oneOf(
    ...(['checkpoint', 'compress', 'heatmap', 'allocation', 'perplexity', 'compare'] as const),
    ...(['export', 'health', 'explorer', 'settings', 'output'] as const),
  ),
  model: optional(string),
  tensor: optional(string),
  other: optional(string),
});
type CommandCase<C extends P.CommandLine['command']> = Extract<P.CommandLine, { command: C }>;
export const commandLine: Guard<P.CommandLine> = tagged<P.CommandLine, 'command'>('command', {
  inspect: object<CommandCase<'inspect'>>({ command: oneOf('inspect'), model: string }),
  stats: object<CommandCase<'stats'>>({ command: oneOf('stats'), model: string, tensor: optional(string) }),
  compress: object<CommandCase<'compress'>>({ command: oneOf('compress'), request: compressRequest }),
  sweep: object<CommandCase<'sweep'>>({ command: oneOf('sweep'), request: sweepRequest }),
  plan: object<CommandCase<'plan'>>({
    command: oneOf('plan'),
    sweep: string,
    budget,
    factors,
    overrides: array(override),
  }),
  evaluate: object<CommandCase<'evaluate'>>({ command: oneOf('evaluate'), request: evaluateRequest }),
  compare: object<CommandCase<'compare'>>({ command: oneOf('compare'), a: string, b: string, values: boolean }),
});

export const pathAnswer: Guard<{ path?: string }> = object<{ path?: string }>({ path: optional(string) });
export const common: RequestGuards<P.CommonRequests> = {
  save: {
    params: object<P.SavedFile>({ name: string, type: oneOf('csv', 'json', 'md', 'png'), data: string }),
    result: pathAnswer,
  },
  copy: { params: object<{ text: string }>({ text: string }), result: nothing },
  copyCommand: { params: commandLine, result: object<{ text: string }>({ text: string }) },
  navigate: { params: destination, result: nothing },
  openPath: { params: object<{ path: string }>({ path: string }), result: nothing },
  pick: {
    params: object<P.CommonRequests['pick'][0]>({
      what: oneOf('calibration', 'evaluation', 'fisher', 'output', 'checkpoint'),
      current: optional(string),
    }),
    result: pathAnswer,
  },
};
export const commonEvents = {
  engine: object<P.CommonEvents['engine']>({
    state: oneOf('stopped', 'starting', 'running', 'failed'),
    reason: optional(string),
  }),
};
