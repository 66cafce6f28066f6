import { describe, expect, it } from 'vitest';
import { commands } from '../../../extension/cli/commands';
import { parse } from '../../../extension/cli/command';
import * as v from 'valibot';
import { LqError } from '../../../extension/core/errors';
import { describeRequest, type RequestOf } from '../../../extension/core/requests/describe';
import { numberFlag, path } from '../../../extension/core/requests/field';
import { compressRequest, sayable, sweepRequest, type Sayable } from '../../../extension/core/requests/requests';

const minimal = { model: '/m', out: '/o', budget: { kind: 'bits', value: 2.75 }, plain: true } as const;

/** One request of each kind with every field that can be said, and values other than the defaults. */
const everything: Sayable[] = [
  { command: 'inspect', request: { model: '/m' } },
  { command: 'stats', request: { model: '/m', tensors: ['a.weight', 'b weight'], device: 'cpu', threads: 3 } },
  { command: 'compare', request: { a: '/a', b: '/b', structure: true } },
  {
    command: 'fisher',
    request: {
      model: '/m',
      calibration: '/c.txt',
      parts: 2,
      shard: '1/2',
      samples: 7,
      context: 128,
      precision: 'bf16',
      out: '/f',
      include: ['*q*'],
      exclude: ['x'],
    },
  },
  {
    command: 'sweep',
    request: {
      model: '/m',
      for: 'gguf',
      method: 'lq-lora',
      metric: 'fisher',
      ranks: [8, 16],
      states: 12,
      tailBiting: true,
      calibration: '/c.txt',
      samples: 64,
      context: 512,
      memory: 1e9,
      parts: 4,
      precision: 'fp32',
      iterations: 9,
      patience: 1,
      scales: 'means-of-sqrt',
      grid: [{ b0: 3, b1: 4, b2: 'bf16', B0: 64, B1: 256 }],
      costs: 'predicted',
      embeddings: true,
      out: '/s.json',
      cache: '/cache',
      seed: 5,
    },
  },
  {
    command: 'plan',
    request: {
      sweep: '/s.json',
      budget: { kind: 'bytes', value: 1500000000 },
      factors: 'bf16',
      overrides: [{ match: '*down*', minBits: 4 }],
    },
  },
  {
    command: 'evaluate',
    request: {
      model: '/m',
      text: '/t.txt',
      reference: '/original',
      context: 64,
      windows: 3,
      precision: 'fp32',
      bos: true,
    },
  },
  {
    command: 'export',
    request: { model: '/m', format: 'dense', dtype: 'fp16', splitSize: 4_000_000_000, out: '/o', overwrite: true },
  },
  {
    command: 'compress',
    request: {
      model: '/m',
      out: '/o',
      overwrite: true,
      budget: { kind: 'effective-bits', value: 2.25 },
      splitSize: 500_000_000,
      calibration: '/c.txt',
      samples: 16,
      parts: 8,
      secondPass: false,
      alpha: 0.25,
      method: 'frontier',
      metric: 'kfac',
      ranks: [0],
      states: 14,
      tailBiting: true,
      iterations: 3,
      patience: 2,
      scales: 'means-of-sqrt',
      grid: [
        { b0: 2, b1: 2, b2: 'fp16', B0: 16, B1: 64 },
        { b0: 4, b1: 8, b2: 'fp32', B0: 64, B1: 256 },
      ],
      factors: 'fp32',
      costs: 'measured',
      embeddings: true,
      memory: 1e9,
      evalText: '/e.txt',
      context: 256,
      precision: 'auto',
      windows: 10,
      for: 'packed',
      format: 'dense',
      sweepOut: '/s.json',
      include: ['*.q_proj.weight', "it's"],
      exclude: ['*.0.*'],
      overrides: [{ match: '*', minBits: 2, maxBits: 3 }],
      device: 'cuda:1',
      threads: 2,
      cache: '/cache',
      seed: 1,
    },
  },
];

/** What the command line makes of the words that say a request. */
function spoken({ command, request }: Sayable): unknown {
  const words = sayable[command].words(request as never);
  const found = commands.find(each => each.request.command === words[0])!;
  const { positionals, given } = parse(found, words.slice(1));
  return found.request.read(positionals, given, path => path);
}

describe('requests', () => {
  it.each(everything)('$command: the line that says a request is read back as the same request', said => {
    expect(spoken(said)).toEqual(said.request);
  });

  it('says every field that has a flag', () => {
    for (const { command, request } of everything) {
      const said = new Set(sayable[command].words(request as never).filter(word => word.startsWith('--')));
      const alternatives = /^(bits|effective-bits|size|fisher|plain|calibration|second-pass)$/;
      const settings = /^(device|threads|cache|seed|include|exclude)$/;
      for (const flag of Object.keys(sayable[command].flags))
        if (!alternatives.test(flag) && (command === 'compress' || !settings.test(flag)))
          expect(said, `${command} --${flag}`).toContain(`--${flag}`);
    }
  });

  it.each([
    [{ ...minimal, budget: { kind: 'bytes', value: null } }, 'budget.value: expected'],
    [{ ...minimal, budget: { kind: 'stones', value: 1 } }, 'budget.kind: expected'],
    [{ model: '/m', budget: minimal.budget, plain: true }, 'out: is missing'],
    [{ ...minimal, ranks: [1.5] }, 'ranks.0: expected a whole number'],
    [{ ...minimal, ranks: [-1] }, 'ranks.0: expected at least 0'],
    [{ ...minimal, method: 'magic' }, 'There is no method "magic"'],
    [{ ...minimal, include: 'q_proj' }, 'include: expected Array'],
    [{ ...minimal, patients: 3 }, 'patients: there is no such field'],
    [{ ...minimal, calibration: '/c.txt' }, 'one of --calibration'],
    ['compress', 'expected Object'],
  ])('refuses %j by name', (value, problem) => {
    expect(compressRequest.problem(value)).toContain(problem);
    expect(() => compressRequest.check(value)).toThrow(LqError);
  });

  it('accepts a request with and without its optional fields', () => {
    expect(compressRequest.problem(minimal)).toBeUndefined();
    expect(sweepRequest.problem({ model: '/m', plain: true })).toBeUndefined();
  });

  it('has a new field once it is in the table: its type, check, flag, help and command line follow', () => {
    const table = { model: { schema: path, positional: 'MODEL' } };
    const before = describeRequest('try', table);
    const after = describeRequest('try', {
      ...table,
      depth: {
        schema: v.exactOptional(v.pipe(v.number(), v.integer('expected a whole number'))),
        spoken: numberFlag('depth', 'N', 'how deep'),
      },
    });
    const request: RequestOf<typeof after> = { model: '/m', depth: 3 };
    expect(before.problem(request)).toBe('depth: there is no such field');
    expect(after.problem(request)).toBeUndefined();
    expect(after.problems({ ...request, depth: 0.5 })).toEqual({ depth: 'expected a whole number' });
    expect(after.flags).toEqual({ depth: { value: 'N', description: 'how deep' } });
    expect(after.words(request)).toEqual(['try', '/m', '--depth', '3']);
    expect(after.read(['/m'], { depth: '3' }, file => file)).toEqual(request);
  });

  it('tells a form what is wrong by field', () => {
    expect(compressRequest.problems({ ...minimal, ranks: [-1], out: '' })).toEqual({
      ranks: 'expected at least 0',
      out: 'expected a path',
    });
  });

  it.each([
    [['--bits', 'x'], '--bits must be a number'],
    [['--bits', '2', '--size', '1GB'], 'exactly one of'],
    [['--override', 'x'], '--override must look like'],
    [['--factors', 'int8'], '--factors must be one of nf8, bf16, fp32'],
  ])('plan %j is refused', (args, problem) => {
    const plan = commands.find(({ request }) => request.command === 'plan')!;
    const { positionals, given } = parse(plan, ['/s.json', ...args]);
    expect(() => plan.request.read(positionals, given, path => path)).toThrow(problem);
  });
});
