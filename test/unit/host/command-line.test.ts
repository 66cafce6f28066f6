import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { commandLine } from '../../../extension/host/model/command-line';

/** What a shell makes of the line. */
const words = (line: string): string[] =>
  spawnSync('sh', ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' })
    .stdout.split('\0')
    .slice(0, -1);

describe('copy as command line', () => {
  it('says what a compression does', () => {
    const line = commandLine({
      command: 'compress',
      request: {
        model: '/models/tiny',
        out: '/models/tiny-lq',
        budget: { kind: 'bits', value: 2.75 },
        ranks: [8],
        plain: true,
        include: ['*.q_proj.weight'],
        device: 'auto',
        threads: 0,
      },
    });
    expect(line).toBe(
      "lq-studio compress /models/tiny --out /models/tiny-lq --bits 2.75 --rank 8 --plain --include '*.q_proj.weight'",
    );
  });

  it('says what shows statistics, of one tensor or of all', () => {
    expect(commandLine({ command: 'stats', request: { model: '/m' } })).toBe('lq-studio stats /m');
    expect(commandLine({ command: 'stats', request: { model: '/m', tensors: ['a.weight'] } })).toBe(
      'lq-studio stats /m --tensor a.weight',
    );
  });

  it('survives a shell whatever the path', () => {
    const model = `/models/it's "$(rm -rf ~)" & \`more\`\n`;
    const line = commandLine({ command: 'evaluate', request: { model, text: '/t.txt' } });
    expect(words(line)).toEqual(['lq-studio', 'eval', model, '--text', '/t.txt']);
  });

  it('gives sizes in whole bytes and other budgets without rounding noise', () => {
    const plan = { sweep: '/s.json', factors: 'nf8' } as const;
    const overrides = [{ match: '*down*', minBits: 4 }];
    expect(
      commandLine({ command: 'plan', request: { ...plan, overrides, budget: { kind: 'bytes', value: 1.5e9 + 0.4 } } }),
    ).toBe("lq-studio plan /s.json --size 1500000000 --factors nf8 --override '*down*=4:'");
    expect(
      commandLine({ command: 'plan', request: { ...plan, budget: { kind: 'effective-bits', value: 0.1 + 0.2 } } }),
    ).toContain('--effective-bits 0.3 ');
  });
});
