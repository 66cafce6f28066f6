/** Bad input and bad luck, one by one, through the command line: a typed error, exit code not zero, nothing half-written. */
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorData } from '../../extension/core/errors';
import { calibration, copySample, evaluation, lqStudio, root, sample, workFolder } from './running';

const { folder, clean } = workFolder();
afterAll(clean);
let model: string;
const out = path.join(folder, 'out');
const cache = ['--cache', path.join(folder, 'cache'), '--device', 'cpu'];
const SHARD = 'model-00001-of-00002.safetensors';

beforeAll(() => {
  model = copySample(folder);
});

/** Runs a command that must fail; its error. */
async function failing(args: string[], options: { wrap?: string[] } = {}): Promise<ErrorData> {
  const { code, stdout, stderr } = await lqStudio([...args, ...cache, '--json'], options);
  expect(code, stderr).toBeGreaterThan(0);
  expect(readdirSync(folder).filter(name => name.startsWith('out'))).toEqual([]);
  return (JSON.parse(stdout) as { error: ErrorData }).error;
}

const compress = (from: string): string[] => [
  'compress',
  from,
  '--out',
  out,
  '--method',
  'lq-lora',
  '--bits',
  '3',
  '--rank',
  '2',
  '--plain',
];

/** A safetensors file of the given header text and data length. */
function safetensors(header: string, data: number, length = BigInt(header.length)): string {
  const file = path.join(folder, 'bad.safetensors');
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length);
  writeFileSync(file, Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(data)]));
  return file;
}

describe('files', () => {
  it('truncated', async () => {
    const shard = path.join(model, SHARD);
    const whole = readFileSync(shard);
    truncateSync(shard, whole.length - 1000);
    const error = await failing(compress(model));
    writeFileSync(shard, whole);
    expect(error.file).toBe(shard);
    expect(['file-coverage', 'shard-disagrees']).toContain(error.code);
  });

  it('with a header of 2^63 bytes', async () => {
    const file = safetensors('{}', 0, 1n << 63n);
    expect(await failing(['inspect', file])).toMatchObject({ code: 'header-too-large', file });
  });

  it('with overlapping ranges', async () => {
    const file = safetensors(
      '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
      6,
    );
    expect(await failing(['inspect', file])).toMatchObject({ code: 'tensor-overlap', file, tensor: 'b' });
  });

  it('with a missing shard', async () => {
    const shard = path.join(model, SHARD);
    const whole = readFileSync(shard);
    rmSync(shard);
    const error = await failing(compress(model));
    writeFileSync(shard, whole);
    expect(error).toMatchObject({ code: 'shard-missing', file: shard });
  });

  it('that are not there', async () => {
    const nowhere = path.join(folder, 'nowhere');
    expect(await failing(['inspect', nowhere])).toMatchObject({ code: 'file-not-found', file: nowhere });
    expect(await failing(['eval', sample, '--text', nowhere])).toMatchObject({ code: 'file-not-found', file: nowhere });
  });
});

describe('content', () => {
  it('a NaN in a weight', async () => {
    const shard = path.join(model, SHARD);
    const whole = readFileSync(shard);
    const damaged = Buffer.from(whole);
    const name = 'model.layers.0.self_attn.q_proj.weight';
    const headerLength = Number(whole.readBigUInt64LE());
    const header = JSON.parse(whole.subarray(8, 8 + headerLength).toString()) as Record<
      string,
      { data_offsets: number[] }
    >;
    damaged.writeUInt16LE(0x7fc0, 8 + headerLength + header[name]!.data_offsets[0]! + 2 * 77);
    writeFileSync(shard, damaged);
    const error = await failing([...compress(model), '--include', name]);
    const report = await lqStudio(['health', model, ...cache, '--json']);
    writeFileSync(shard, whole);
    expect(error).toMatchObject({ code: 'not-finite', file: shard, tensor: name, details: { index: 77 } });
    expect(report.code).toBe(1);
    expect(report.stdout).toContain(name);
  });

  it('an unknown architecture', async () => {
    const config = path.join(model, 'config.json');
    const text = readFileSync(config, 'utf8');
    writeFileSync(config, text.replace('LlamaForCausalLM', 'MysteryForCausalLM').replace('"llama"', '"mystery"'));
    const error = await failing(['eval', model, '--text', evaluation]);
    writeFileSync(config, text);
    expect(error).toMatchObject({ code: 'unsupported-model', file: config });
    expect(error.message).toContain('MysteryForCausalLM');
  });

  it('the tokenizer of another model', async () => {
    const config = path.join(model, 'tokenizer.json');
    const text = readFileSync(config, 'utf8');
    const tokenizer = JSON.parse(text) as { model: { vocab: Record<string, number> } };
    for (const token of Object.keys(tokenizer.model.vocab)) tokenizer.model.vocab[token]! += 100_000;
    writeFileSync(config, JSON.stringify(tokenizer));
    const error = await failing(['eval', model, '--text', evaluation, '--windows', '1']);
    writeFileSync(config, text);
    expect(error).toMatchObject({ code: 'tokenizer', file: config });
  });

  it('a text that is too short', async () => {
    const short = path.join(folder, 'short.txt');
    writeFileSync(short, 'A few words.');
    const args = ['fisher', model, '--calibration', short, '--out', path.join(folder, 'out.safetensors')];
    expect(await failing(args)).toMatchObject({ code: 'text-too-short', file: short });
  });

  it('a Fisher file of another model', async () => {
    const file = safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4);
    const args = [
      'sweep',
      model,
      '--method',
      'lq-lora',
      '--rank',
      '2',
      '--fisher',
      file,
      '--out',
      path.join(folder, 'out.json'),
    ];
    expect(await failing(args)).toMatchObject({ code: 'fisher-mismatch', file });
  });
});

describe('requests', () => {
  it('a budget under the minimum says the minimum', async () => {
    const error = await failing(['compress', model, '--out', out, '--method', 'lq-lora', '--bits', '1.9', '--plain']);
    expect(error).toMatchObject({ code: 'budget-infeasible' });
    expect(error.details?.['minimum']).toBeCloseTo(2.0322, 3);
  });

  it.each([
    [['compress', sample, '--bits', '3', '--plain']],
    [['compress', sample, '--out', out, '--bits', '3', '--size', '1GB', '--plain']],
    [['compress', sample, '--out', out, '--bits', 'three', '--plain']],
    [['compress', sample, '--out', out, '--bits', '3', '--plain', '--calibration', calibration]],
    [['compress', sample, '--out', out, '--bits', '3', '--plain', '--speed', '9']],
    [['plan']],
    [['decimate', sample]],
  ])('wrong use is exit code 2: %j', async args => {
    const { code, stdout } = await lqStudio([...args, '--json']);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'usage' } });
  });

  it('a device that is not there is refused, not replaced', async () => {
    const { code, stdout } = await lqStudio(['stats', model, '--device', 'cuda:7', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'device-unavailable' } });
  });

  it('an output that exists is kept', async () => {
    const existing = path.join(folder, 'existing');
    const args = ['export', model, '--format', 'dense', '--out', existing, ...cache, '--json'];
    expect((await lqStudio(args)).code).toBe(0);
    const before = readdirSync(existing);
    const { code, stdout } = await lqStudio(args);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'output-exists', file: existing } });
    expect(readdirSync(existing)).toEqual(before);
  });
});

describe('the machine', () => {
  it('a full disk', async () => {
    // A file system of one megabyte in a mount namespace of its own.
    const small = path.join(folder, 'small');
    const wrap = [
      'unshare',
      '--mount',
      '--map-root-user',
      'sh',
      '-c',
      `mkdir -p ${small} && mount -t tmpfs -o size=1m none ${small} && "$@"; status=$?; ls -A ${small} >&2; exit $status`,
      'sh',
    ];
    const jobs = [
      [
        'compress',
        model,
        '--out',
        path.join(small, 'model'),
        '--bits',
        '3',
        '--method',
        'lq-lora',
        '--rank',
        '2',
        '--plain',
      ],
      ['export', model, '--format', 'dense', '--out', path.join(small, 'model')],
    ];
    for (const args of jobs) {
      const { code, stdout, stderr } = await lqStudio([...args, ...cache, '--json'], { wrap });
      expect(code, stderr).toBe(1);
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'disk-full' } });
      expect(stderr.trim()).toBe('');
    }
  });

  it('Ctrl-C is exit code 130 and what is finished is kept', async () => {
    const own = ['--cache', path.join(folder, 'interrupted'), '--device', 'cpu'];
    const args = [
      'sweep',
      sample,
      '--method',
      'lq-lora',
      '--rank',
      '32',
      '--plain',
      '--exclude',
      '*mlp*',
      '--out',
      path.join(folder, 'out.json'),
      ...own,
    ];
    const { code, stderr } = await lqStudio(args, { interruptAfter: /sweep.* [1-9]\d%/ });
    expect(code, stderr).toBe(130);
    expect(stderr).toContain('what is finished is kept');
    expect(readdirSync(path.join(folder, 'interrupted', 'sweep')).length).toBeGreaterThan(0);
    expect(existsSync(path.join(folder, 'out.json'))).toBe(false);
  });
});

describe('help', () => {
  it('names every command, and each has a page', async () => {
    const { stdout } = await lqStudio(['--help']);
    const names = ['inspect', 'stats', 'fisher', 'sweep', 'plan', 'compress', 'eval', 'export', 'doctor'];
    for (const name of names) {
      expect(stdout).toContain(name);
      const page = await lqStudio([name, '--help']);
      expect(page).toMatchObject({ code: 0, stdout: expect.stringContaining(`lq-studio ${name}`) as string });
    }
    expect(JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))).toMatchObject({
      bin: { 'lq-studio': './dist/cli.js' },
    });
  });
});
