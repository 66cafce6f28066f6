import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import type { CheckpointIndex } from '../../../extension/core/checkpoint/types';
import { LqError } from '../../../extension/core/errors';
import { findExporter } from '../../../extension/core/export/exporters';
import {
  headerRoom,
  lqDestination,
  planPackedLayout,
  type PackedLayout,
  type PackedTarget,
} from '../../../extension/core/packed/layout';
import { readPacked, type PackedMatrix } from '../../../extension/core/packed/reader';
import { createPackedOutput, type PackedJob } from '../../../extension/core/packed/writer';
import type { LqSource } from '../../../extension/core/native';
import { paperConfig, paperOption } from '../../../extension/core/options/config';
import { methodOptions } from '../../../extension/core/options/methods/registry';
import { packedBytes } from '../../../extension/core/options/option';
import { nodeFiles } from '../../../extension/node/files';
import {
  bytesAt,
  CONFIG_TEXT,
  context,
  ERRORS,
  fillParts,
  makeModel,
  newCache,
  partRanges,
  RECIPE,
  temporary,
  writeAt,
} from './harness';

const NAMES = ['model.layers.0.q_proj.weight', 'model.layers.1.q_proj.weight'] as const;
const TARGETS: PackedTarget[] = [
  {
    name: NAMES[0],
    option: paperOption({ b0: 3, b1: 4, b2: 'bf16', B0: 16, B1: 16 }, 4),
  },
  {
    name: NAMES[1],
    option: paperOption({ b0: 2, b1: 3, b2: 'fp32', B0: 64, B1: 256 }, 0),
  },
];

let folder: string;
let remove: () => void;
let source: CheckpointIndex;
let job: PackedJob;
beforeEach(async () => {
  ({ folder, remove } = temporary());
  newCache();
  source = await makeModel(path.join(folder, 'model'));
  job = { source, targets: TARGETS, factors: 'nf8', recipe: RECIPE, out: path.join(folder, 'out'), overwrite: false };
});
afterEach(() => remove());

const fill = (place: PackedLayout['matrices'][number]['source']): void => fillParts(lqDestination(place as LqSource));

async function pack(changes: Partial<PackedJob> = {}): Promise<CheckpointIndex> {
  const output = await createPackedOutput(context(), { ...job, ...changes });
  for (const { name, source: place } of output.layout.matrices) {
    fill(place);
    await output.markDone(name, ERRORS);
  }
  const { out } = await output.finish();
  return openCheckpoint(nodeFiles, out);
}

const pickOf = ({ option, bytes }: PackedMatrix): Pick<PackedMatrix, 'option' | 'bytes'> => ({ option, bytes });

async function failure(work: Promise<unknown>): Promise<LqError> {
  return work.then(
    () => Promise.reject(new Error('expected a failure')),
    (error: unknown) => (error instanceof LqError ? error : Promise.reject(error as Error)),
  );
}

describe('layout', () => {
  it.each(['nf8', 'bf16', 'fp32'] as const)('spends exactly the planned bytes with %s factors', factors => {
    const layout = planPackedLayout(source, TARGETS, { factors, seed: 1 }, '/out');
    const kept = source.bytes - NAMES.reduce((sum, name) => sum + source.byName.get(name)!.bytes, 0);
    const packed = TARGETS.map(({ name, option }) => {
      const [rows, cols] = source.byName.get(name)!.shape as [number, number];
      return packedBytes(option, rows, cols, factors);
    });
    const headers = layout.shards.reduce((sum, { header }) => sum + header.length, 0);
    expect(layout.bytes).toBe(headers + kept + packed[0]! + packed[1]!);
    expect(layout.copies.map(copy => copy.name)).toEqual([
      'lm_head.weight',
      'model.embed_tokens.weight',
      'model.layers.0.norm.weight',
    ]);
  });

  it('aligns every tensor to its element size and keeps each matrix in its own shard', () => {
    const layout = planPackedLayout(source, TARGETS, { factors: 'fp32', seed: 1 }, '/out');
    for (const { tensor, source: place, shard } of layout.matrices) {
      const destination = lqDestination(place as LqSource);
      expect(shard).toBe(`lq-${path.basename(tensor.file)}`);
      for (const range of partRanges(destination)) expect(range.path).toBe(`/out/${shard}`);
      expect(destination.offset.offset % 4).toBe(0);
    }
  });

  it('has headers of one size whatever is chosen, with little room to spare', () => {
    const all = methodOptions('frontier', { ranks: [0, 4] });
    const options = [...all, ...methodOptions('lq-lora', { ranks: [0, 2] }), ...methodOptions('gptq', {})];
    const headers = headerRoom(
      source,
      NAMES.map(name => ({ name, options })),
    );
    let most = 0;
    for (const factors of ['nf8', 'bf16', 'fp32'] as const)
      for (let i = 0; i < options.length; i += 5) {
        const targets = NAMES.map((name, at) => ({ name, option: options[(i + 7 * at) % options.length]! }));
        const seed = i % 2 === 0 ? 0 : Number.MAX_SAFE_INTEGER;
        const free = planPackedLayout(source, targets, { factors, seed }, '/out');
        const { shards } = planPackedLayout(source, targets, { factors, seed, headers }, '/out');
        expect(shards.map(({ header }) => header.length)).toEqual(headers);
        most = Math.max(most, ...free.shards.map(({ header }, at) => header.length / headers[at]!));
      }
    // Books are a part of most: the four of NF, of which two matrices need three at most.
    expect(most).toBeGreaterThan(0.8);
  });

  it('refuses targets that are no float matrices', () => {
    const plan = (name: string) => () =>
      planPackedLayout(source, [{ ...TARGETS[0]!, name }], { factors: 'nf8', seed: 1 }, '/out');
    expect(plan('nowhere.weight')).toThrow(expect.objectContaining({ code: 'tensor-not-found' }) as Error);
    expect(plan('model.layers.0.norm.weight')).toThrow(expect.objectContaining({ code: 'unsupported-dtype' }) as Error);
  });
});

describe('a packed checkpoint', () => {
  it('reads back: parts, kept tensors bit for bit, description and side files', async () => {
    const index = await pack();
    expect(index.problems).toEqual([]);
    const matrices = readPacked(index);
    expect([...matrices.keys()]).toEqual([...NAMES]);
    for (const { name, option } of TARGETS) {
      const matrix = matrices.get(name)!;
      const { dtype, shape } = source.byName.get(name)!;
      expect(matrix).toMatchObject({ option, dtype, shape, factors: 'nf8' });
      expect(matrix.bytes).toBe(packedBytes(option, shape[0]!, shape[1]!, 'nf8'));
      const { quantized, l1, l2 } = matrix.source as LqSource;
      expect([...bytesAt(quantized.codes).subarray(0, 3)]).toEqual([1, 2, 3]);
      expect(bytesAt(quantized.scales)[0]).toBe(38);
      expect([l1?.kind, l2?.kind]).toEqual(option.rank > 0 ? ['packed', 'packed'] : [undefined, undefined]);
    }
    for (const tensor of source.tensors) {
      if (NAMES.includes(tensor.name as (typeof NAMES)[number])) continue;
      const kept = index.byName.get(tensor.name)!;
      const range = ({ file, offset, bytes }: typeof kept) => bytesAt({ path: file, offset, bytes });
      expect(range(kept).equals(range(tensor))).toBe(true);
    }
    expect(readdirSync(job.out).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'lq-model-00001-of-00002.safetensors',
      'lq-model-00002-of-00002.safetensors',
      'lq-model.safetensors.index.json',
      'lq_studio.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(index.config?.quantization_config).toEqual({ quant_method: 'lq-studio', version: 3 });
    const sidecar = JSON.parse(readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8'));
    const bytes = index.shards.reduce((sum, shard) => sum + shard.bytes, 0);
    expect(sidecar).toMatchObject({ format: 'lq-studio', version: 3, ...RECIPE, factors: 'nf8', bytes });
    expect(sidecar.matrices[0]).toMatchObject({ ...TARGETS[0], errors: ERRORS });
    expect(Object.keys(sidecar.books)).toEqual(['nf2', 'nf3', 'nf8']);
  });

  it('shows as the weights it stands for', async () => {
    const index = await pack();
    const shown = logicalTensors(index).map(({ name, dtype, format, shape }) => [name, dtype, format, shape]);
    expect(shown).toEqual([
      ['lm_head.weight', 'BF16', 'dense', [50, 10]],
      ['model.embed_tokens.weight', 'BF16', 'dense', [50, 10]],
      ['model.layers.0.norm.weight', 'F32', 'dense', [7]],
      [NAMES[0], 'NF3 g16 r4', 'lq', [30, 11]],
      [NAMES[1], 'NF2 g64', 'lq', [9, 65]],
    ]);
    const bytes = logicalTensors(index).reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect(bytes).toBe(index.bytes);
  });

  it('is the same whatever it was interrupted by, and continues after what is done', async () => {
    await pack({ out: path.join(folder, 'whole') });
    newCache();
    const first = await createPackedOutput(context(), job);
    fill(first.layout.matrices[0]!.source);
    await first.markDone(NAMES[0], ERRORS);
    fill(first.layout.matrices[1]!.source);
    await first.keep();
    expect(existsSync(job.out)).toBe(false);

    const second = await createPackedOutput(context(), job);
    expect(NAMES.map(name => second.isDone(name))).toEqual([true, false]);
    expect(second.errors(NAMES[0])).toEqual(ERRORS);
    fill(second.layout.matrices[1]!.source);
    await second.markDone(NAMES[1], ERRORS);
    await second.finish();
    for (const name of readdirSync(path.join(folder, 'whole')))
      expect(readFileSync(path.join(job.out, name))).toEqual(readFileSync(path.join(folder, 'whole', name)));
    expect(readdirSync(folder).sort()).toEqual(['model', 'out', 'whole']);
  });

  it('starts over when the job is another one or a partial file was cut', async () => {
    const first = await createPackedOutput(context(), job);
    await first.markDone(NAMES[0], ERRORS);
    await first.keep();
    const other = { ...job, recipe: { ...RECIPE, method: { ...RECIPE.method, seed: 2 } } };
    const second = await createPackedOutput(context(), other);
    expect(second.isDone(NAMES[0])).toBe(false);
    await second.markDone(NAMES[0], ERRORS);
    await second.keep();
    writeFileSync(path.join(`${job.out}.partial`, 'lq-model-00001-of-00002.safetensors'), 'short');
    expect((await createPackedOutput(context(), other)).isDone(NAMES[0])).toBe(false);
  });

  it('is the result of whoever finished the very same job, when asked to be', async () => {
    await pack();
    const adopted = await createPackedOutput(context(), { ...job, adopt: true });
    expect(NAMES.map(name => adopted.isDone(name))).toEqual([true, true]);
    expect(adopted.errors(NAMES[1])).toEqual(ERRORS);
    expect((await adopted.finish()).files.sort()).toEqual(readdirSync(job.out).sort());
    const other = { ...job, adopt: true, factors: 'bf16' as const };
    expect((await failure(createPackedOutput(context(), other))).code).toBe('output-exists');
    expect(readdirSync(folder).sort()).toEqual(['model', 'out']);
  });

  it('is made once, wherever it is to go: others wait for it and copy it while it is unchanged', async () => {
    const first = await createPackedOutput(context(), job);
    const elsewhere = { ...job, out: path.join(folder, 'elsewhere') };
    const waiting: string[] = [];
    const second = createPackedOutput(
      { ...context(), report: ({ waitingFor }) => waiting.push(waitingFor!) },
      elsewhere,
    );
    for (const { name, source: place } of first.layout.matrices) {
      fill(place);
      await first.markDone(name, ERRORS);
    }
    await first.finish();
    const copied = await second;
    expect(waiting.length).toBeGreaterThan(0);
    expect(NAMES.map(name => copied.isDone(name))).toEqual([true, true]);
    expect(copied.errors(NAMES[1])).toEqual(ERRORS);
    await copied.finish();
    for (const name of readdirSync(job.out))
      expect(readFileSync(path.join(elsewhere.out, name)), name).toEqual(readFileSync(path.join(job.out, name)));
    // Of what was changed since nothing is taken.
    for (const made of [job.out, elsewhere.out])
      writeFileSync(path.join(made, 'lq-model-00001-of-00002.safetensors'), 'damaged');
    expect((await createPackedOutput(context(), { ...job, out: path.join(folder, 'third') })).isDone(NAMES[0])).toBe(
      false,
    );
  });

  it('starts over when a tensor that it keeps was changed in the source', async () => {
    const first = await createPackedOutput(context(), job);
    await first.markDone(NAMES[0], ERRORS);
    await first.keep();
    const { file, offset } = source.byName.get('model.embed_tokens.weight')!;
    writeAt({ path: file, offset }, Uint8Array.of(0x12, 0x34));
    const second = await createPackedOutput(context(), job);
    expect(second.isDone(NAMES[0])).toBe(false);
    const kept = second.layout.copies.find(({ name }) => name === 'model.embed_tokens.weight')!;
    expect([...bytesAt(kept.to).subarray(0, 2)]).toEqual([0x12, 0x34]);
    await second.keep();
    await pack({ out: path.join(folder, 'finished') });
    writeAt({ path: file, offset }, Uint8Array.of(0x56, 0x78));
    expect((await createPackedOutput(context(), job)).isDone(NAMES[0])).toBe(false);
  });

  it('that is replaced is the old or the new one after a crash between its two renames', async () => {
    await pack();
    const before = readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8');
    const next = { ...job, recipe: { ...RECIPE, method: { ...RECIPE.method, seed: 2 } }, overwrite: true };
    const dying = context({
      // The first rename sets the old folder aside; nothing is done after.
      rename: (from, to) => (from === job.out ? nodeFiles.rename(from, to) : Promise.reject(new Error('killed'))),
    });
    const output = await createPackedOutput(dying, next);
    for (const { name, source: place } of output.layout.matrices) {
      fill(place);
      await output.markDone(name, ERRORS);
    }
    await expect(output.finish()).rejects.toThrow('killed');
    expect(existsSync(job.out)).toBe(false);
    await output.keep();
    // A run that may not replace it finds the old one where it was, another finishes the new one.
    expect((await failure(createPackedOutput(context(), { ...next, overwrite: false }))).code).toBe('output-exists');
    expect(readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8')).toBe(before);
    const again = await createPackedOutput(context(), next);
    expect(NAMES.map(name => again.isDone(name))).toEqual([true, true]);
    await again.finish();
    expect(readFileSync(path.join(job.out, 'lq_studio.json'), 'utf8')).not.toBe(before);
    expect(readdirSync(folder).sort()).toEqual(['model', 'out']);
  });

  it('refuses to go on once another process has taken over', async () => {
    const first = await createPackedOutput(context(), job);
    await first.markDone(NAMES[0], ERRORS);
    // What another process does after the heartbeat stopped for too long.
    rmSync(`${job.out}.claim`);
    newCache();
    const second = await createPackedOutput(context(), job);
    expect(second.isDone(NAMES[0])).toBe(true);
    for (const late of [() => first.markDone(NAMES[1], ERRORS), () => first.requireHeld(), () => first.finish()])
      expect((await failure(late())).code).toBe('output-exists');
    await first.keep();
    await second.markDone(NAMES[1], ERRORS);
    await second.finish();
    expect(readdirSync(folder).sort()).toEqual(['model', 'out']);
  });

  it('never replaces what it should not', async () => {
    await pack();
    expect((await failure(createPackedOutput(context(), job))).code).toBe('output-exists');
    await pack({ overwrite: true });
    expect((await failure(createPackedOutput(context(), { ...job, out: source.folder, overwrite: true }))).code).toBe(
      'usage',
    );
    expect((await failure(createPackedOutput(context(), { ...job, out: folder, overwrite: true }))).code).toBe('usage');
    const letters = path.join(folder, 'letters');
    mkdirSync(letters);
    writeFileSync(path.join(letters, 'dear.txt'), 'keep me');
    const refused = await failure(createPackedOutput(context(), { ...job, out: letters, overwrite: true }));
    expect(refused.code).toBe('output-exists');
    expect(readdirSync(letters)).toEqual(['dear.txt']);
  });

  it.each([
    ['too small for all files together', { freeBytes: () => Promise.resolve(2500) }],
    ['filled by somebody else meanwhile', { allocate: () => Promise.reject(new LqError('disk-full', 'full')) }],
  ])('leaves nothing on a disk %s', async (_, files) => {
    expect((await failure(createPackedOutput(context(files), job))).code).toBe('disk-full');
    expect(readdirSync(folder)).toEqual(['model']);
  });
});

describe('reading', () => {
  const edit = (change: (text: string) => string): void => {
    const file = path.join(job.out, 'lq-model-00001-of-00002.safetensors');
    const content = readFileSync(file);
    const length = Number(content.readBigUInt64LE());
    const header = change(content.subarray(8, 8 + length).toString());
    if (header.length !== length) throw new Error('the edit must keep the length');
    content.write(header, 8);
    writeFileSync(file, content);
  };
  const faults: [string, (text: string) => string][] = [
    ['another version', text => text.replace('\\"version\\":3', '\\"version\\":4')],
    ['an unknown factor storage', text => text.replace('\\"nf8\\",', '\\"nf9\\",')],
    ['an unknown grid', text => text.replace('\\"kind\\":\\"nf\\"', '\\"kind\\":\\"xx\\"')],
    ['levels out of order', text => text.replace('[-1,', '[ 1,')],
    ['another rank', text => text.replace('\\"rank\\":4', '\\"rank\\":5')],
    ['another shape', text => text.replace('[30,11]', '[31,11]')],
    ['a part of another name', text => text.replace('lq.l2.scales', 'lq.l2.scalez')],
    ['broken JSON', text => text.replace('\\"version\\":3', '\\"version\\"=3')],
  ];
  it.each(faults)('refuses %s', async (_, change) => {
    await pack();
    edit(change);
    const index = await openCheckpoint(nodeFiles, path.join(job.out, 'lq-model-00001-of-00002.safetensors'));
    expect(() => readPacked(index)).toThrow(
      expect.objectContaining({ code: 'packed-format', file: index.file }) as Error,
    );
  });

  it('opens version 1, which described the paper’s options as a book and a configuration', async () => {
    const current = readPacked(await pack());
    for (const name of readdirSync(job.out).filter(each => each.endsWith('.safetensors'))) {
      const file = path.join(job.out, name);
      const content = readFileSync(file);
      const start = 8 + Number(content.readBigUInt64LE());
      const header = JSON.parse(content.subarray(8, start).toString());
      const { seed: _seed, matrices, ...description } = JSON.parse(header.__metadata__.lq_studio);
      const old = Object.entries<PackedTarget>(matrices).map(([matrix, { option, ...rest }]) => {
        const written = { book: 'nf', config: paperConfig(option), rank: option.rank, rounding: 'nearest' };
        return [matrix, { ...rest, option: written }];
      });
      header.__metadata__.lq_studio = JSON.stringify({ ...description, version: 1, matrices: Object.fromEntries(old) });
      const json = Buffer.from(JSON.stringify(header));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(json.length));
      writeFileSync(file, Buffer.concat([length, json, content.subarray(start)]));
    }
    const first = readPacked(await openCheckpoint(nodeFiles, job.out));
    expect([...first.keys()]).toEqual([...NAMES]);
    for (const [name, { option, bytes }] of first) expect({ option, bytes }).toEqual(pickOf(current.get(name)!));
  });

  it('finds nothing in a dense checkpoint', () => expect(readPacked(source).size).toBe(0));
});

describe('exports', () => {
  const exported = async (format: string, from: CheckpointIndex): Promise<CheckpointIndex> => {
    const out = path.join(folder, `as-${format}`);
    const result = await findExporter(format).run({ pipeline: context(), index: from, out, overwrite: false });
    expect(result.files.sort()).toEqual(readdirSync(out).sort());
    const index = await openCheckpoint(nodeFiles, out);
    expect(result.bytes).toBe(index.bytes);
    expect(index.problems).toEqual([]);
    return index;
  };

  it('dense: names, dtypes and shapes of the original, its configuration byte for byte', async () => {
    const index = await exported('dense', await pack());
    expect(index.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(
      source.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    );
    for (const { name, file, offset, bytes } of index.tensors) {
      const stored = bytesAt({ path: file, offset, bytes });
      const original = source.byName.get(name)!;
      if (NAMES.includes(name as (typeof NAMES)[number])) expect(new Set(stored)).toEqual(new Set([1]));
      else expect(stored.equals(bytesAt({ path: original.file, offset: original.offset, bytes }))).toBe(true);
    }
    expect(index.shards.map(shard => shard.metadata)).toEqual([{ format: 'pt' }, { format: 'pt' }]);
    expect(index.shards.map(shard => path.basename(shard.file))).toEqual(
      source.shards.map(shard => path.basename(shard.file)),
    );
    expect(path.basename(index.file)).toBe('model.safetensors.index.json');
    expect(readFileSync(path.join(index.folder, 'config.json'), 'utf8')).toBe(CONFIG_TEXT);
    expect(existsSync(path.join(index.folder, 'lq_studio.json'))).toBe(false);
  });

  it('packed: the same bytes under another path; a dense checkpoint is sent to compression', async () => {
    const from = await pack();
    const index = await exported('packed', from);
    for (const name of readdirSync(job.out))
      expect(readFileSync(path.join(index.folder, name))).toEqual(readFileSync(path.join(job.out, name)));
    const refused = findExporter('packed').run({
      pipeline: context(),
      index: source,
      out: path.join(folder, 'no'),
      overwrite: false,
    });
    expect((await failure(refused)).code).toBe('usage');
  });

  it('goes on after an export that failed, and does nothing twice', async () => {
    const from = await pack();
    const undisturbed = await exported('dense', from);
    const pipeline = context();
    const { reconstruct } = pipeline.native;
    const asked: number[] = [];
    let full = true;
    pipeline.native.reconstruct = (device, matrix, ...rest) => {
      asked.push(matrix.cols);
      if (full && asked.length === 2)
        return Promise.reject(Object.assign(new Error('disk'), { code: 'io_error', index: 28 }));
      return reconstruct(device, matrix, ...rest);
    };
    const out = path.join(folder, 'dense');
    const run = () => findExporter('dense').run({ pipeline, index: from, out, overwrite: false });
    expect(await failure(run())).toMatchObject({ code: 'disk-full', tensor: NAMES[1] });
    expect(readdirSync(folder).sort()).toEqual(['as-dense', 'dense.partial', 'model', 'out']);
    full = false;
    const { files } = await run();
    expect(asked).toEqual([11, 65, 65]);
    for (const name of files)
      expect(readFileSync(path.join(out, name))).toEqual(readFileSync(path.join(undisturbed.folder, name)));
    expect(readdirSync(folder).sort()).toEqual(['as-dense', 'dense', 'model', 'out']);
  });

  it('names the formats there are', () => {
    expect(() => findExporter('mlx')).toThrow(/packed, dense, gguf/);
  });
});
