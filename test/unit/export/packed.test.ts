import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { headerRoom, lqDestination, planPackedLayout, type PackedTarget } from '../../../extension/core/packed/layout';
import { readPacked, type PackedMatrix } from '../../../extension/core/packed/reader';
import type { LqSource } from '../../../extension/core/native';
import { paperConfig } from '../../../extension/core/options/config';
import { methodOptions } from '../../../extension/core/options/methods/registry';
import { packedBytes } from '../../../extension/core/options/option';
import { nodeFiles } from '../../../extension/node/files';
import { bytesAt, ERRORS, partRanges, RECIPE } from './harness';
import { NAMES, TARGETS, job, pack, source, usePackedModel } from './packed-model';

usePackedModel();

const pickOf = ({ option, bytes }: PackedMatrix): Pick<PackedMatrix, 'option' | 'bytes'> => ({ option, bytes });

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
