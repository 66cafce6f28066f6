/** Two real processes on one cache: both succeed with the same results, the work is done once, and strangers' files stay. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CompressReport } from '../../extension/core/reports';
import { calibration, evaluation, lqStudio, sample, workFolder, type Finished } from './running';

const { folder, clean } = workFolder();
afterAll(clean);
const at = (name: string): string => path.join(folder, name);
const settings = (cache: string): string[] => ['--cache', at(cache), '--device', 'cpu', '--threads', '1', '--json'];
const hashOf = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const entries = (cache: string, kind: string): string[] => readdirSync(path.join(at(cache), kind)).sort();

/** Both at once; both must succeed. */
async function together(commands: string[][]): Promise<Finished[]> {
  const finished = await Promise.all(commands.map(args => lqStudio(args)));
  for (const { code, stdout, stderr } of finished) expect(code, stdout + stderr).toBe(0);
  return finished;
}

describe('two at once', () => {
  it('fisher', async () => {
    const command = (out: string): string[] => [
      ...['fisher', sample, '--calibration', calibration, '--samples', '24', '--out', at(out)],
      ...settings('fisher-cache'),
    ];
    const reports = await together([command('one.safetensors'), command('two.safetensors')]);
    const [one, two] = reports.map(({ stdout }) => JSON.parse(stdout) as { losses: number[]; seconds: number });
    expect(two!.losses).toEqual(one!.losses);
    // One computed; the other gives its report, the time it took included.
    expect(two!.seconds).toBe(one!.seconds);
    expect(hashOf(at('two.safetensors'))).toBe(hashOf(at('one.safetensors')));
    expect(reports.filter(({ stderr }) => stderr.includes('waiting for')).length).toBeLessThanOrEqual(1);
    expect(entries('fisher-cache', 'fisher')).toHaveLength(2);
  });

  it('calibrate', async () => {
    const command = (out: string): string[] => [
      ...['calibrate', sample, '--calibration', calibration, '--samples', '24', '--out', at(out)],
      ...settings('calibrate-cache'),
    ];
    const reports = await together([command('one.stats'), command('two.stats')]);
    const [one, two] = reports.map(({ stdout }) => JSON.parse(stdout) as { seconds: number });
    expect(two).toEqual({ ...one, out: at('two.stats') });
    expect(hashOf(at('two.stats'))).toBe(hashOf(at('one.stats')));
    expect(entries('calibrate-cache', 'calibration')).toHaveLength(2);
  });

  it('sweep', async () => {
    const command = (out: string): string[] => [
      ...['sweep', sample, '--rank', '4', '--plain', '--iterations', '2', '--out', at(out)],
      ...settings('sweep-cache'),
    ];
    await together([command('one.json'), command('two.json')]);
    const [one, two] = ['one.json', 'two.json'].map(
      name => JSON.parse(readFileSync(at(name), 'utf8')) as { matrices: unknown },
    );
    expect(two!.matrices).toEqual(one!.matrices);
    expect(entries('sweep-cache', 'sweep')).toHaveLength(28);
  });

  it('compress, to two folders and to one', async () => {
    const command = (out: string): string[] => [
      ...[
        'compress',
        sample,
        '--out',
        at(out),
        '--method',
        'lq-lora',
        '--bits',
        '3',
        '--rank',
        '4',
        '--iterations',
        '2',
      ],
      ...['--calibration', calibration, '--samples', '2', '--eval-text', evaluation, '--windows', '4'],
      ...settings('compress-cache'),
    ];
    const reports = await together([command('first'), command('second'), command('first')]);
    const [first, second, again] = reports.map(({ stdout }) => JSON.parse(stdout) as CompressReport);
    for (const other of [second!, again!]) {
      expect(other.matrices).toEqual(first!.matrices);
      expect(other.before).toEqual(first!.before);
      expect(other.after).toEqual(first!.after);
    }
    expect(readdirSync(at('second')).sort()).toEqual(readdirSync(at('first')).sort());
    for (const name of readdirSync(at('first')))
      expect(hashOf(path.join(at('second'), name)), name).toBe(hashOf(path.join(at('first'), name)));
    expect(entries('compress-cache', 'fisher')).toHaveLength(2);
    expect(entries('compress-cache', 'sweep')).toHaveLength(28);
    expect(entries('compress-cache', 'output')).toHaveLength(1);
    // The same as dense checkpoints: packed in the cache once, from which the last one removes it.
    await together(['dense-1', 'dense-2'].map(out => [...command(out), '--format', 'dense']));
    for (const name of readdirSync(at('dense-1')))
      expect(hashOf(path.join(at('dense-2'), name)), name).toBe(hashOf(path.join(at('dense-1'), name)));
    expect(entries('compress-cache', 'packed')).toEqual([]);
    expect(readdirSync(folder).filter(name => /partial|claim|\.use/.test(name))).toEqual([]);
  });
});

describe('lq-studio cache', () => {
  it('shows, limits and clears what is ours, and nothing else', async () => {
    const cache = ['--cache', at('sweep-cache'), '--json'];
    const strangers = ['model.safetensors', 'sweep/notes.txt', 'mine/deep.bin'].map(name =>
      path.join(at('sweep-cache'), name),
    );
    for (const file of strangers) {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, file);
    }
    const run = async (...args: string[]): Promise<Record<string, number>> => {
      const { code, stdout } = await lqStudio(['cache', ...args, ...cache]);
      expect(code, stdout).toBe(0);
      return JSON.parse(stdout) as Record<string, number>;
    };
    const shown = await run();
    expect(shown['entries']).toBeGreaterThanOrEqual(28);
    const limit = Math.round(shown['bytes']! / 2);
    const limited = await run('--limit', String(limit));
    expect(limited['bytes']).toBeLessThanOrEqual(limit);
    expect(limited['bytes']).toBeGreaterThan(0.9 * limit);
    expect(await run('--clear')).toMatchObject({ bytes: 0, entries: 0, inUse: 0 });
    for (const file of strangers) expect(readFileSync(file, 'utf8')).toBe(file);
  });

  it('refuses a folder of models by name', async () => {
    const models = path.dirname(sample);
    const before = readdirSync(models, { recursive: true }).map(
      name => statSync(path.join(models, String(name))).mtimeMs,
    );
    for (const args of [
      ['cache', '--clear'],
      ['cache', '--limit', '1KB'],
      ['sweep', sample, '--method', 'lq-lora', '--rank', '2', '--plain', '--device', 'cpu', '--out', at('no.json')],
    ]) {
      const { code, stdout } = await lqStudio([...args, '--cache', models, '--json']);
      expect(code).toBe(1);
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'cache-foreign', file: models } });
    }
    const after = readdirSync(models, { recursive: true }).map(
      name => statSync(path.join(models, String(name))).mtimeMs,
    );
    expect(after).toEqual(before);
  });
});
