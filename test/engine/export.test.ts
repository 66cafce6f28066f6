import path from 'node:path';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../extension/core/logical/open';
import { tensorSource } from '../../extension/core/checkpoint/sources';
import type { CheckpointIndex, TensorInfo } from '../../extension/core/checkpoint/types';
import type { PipelineContext } from '../../extension/core/context';
import { compress } from '../../extension/core/pipeline';
import { findExporter } from '../../extension/core/export/exporters';
import { readPacked } from '../../extension/core/packed/reader';
import { createPackedOutput } from '../../extension/core/packed/writer';
import { paperGrid, paperOption } from '../../extension/core/options/config';
import { lqOption } from '../../extension/core/options/native-option';
import { lqDestination } from '../../extension/core/packed/layout';
import type { DenseSource, LqSource } from '../../extension/core/native';
import type { FactorStorage, Option } from '../../extension/core/options/types';
import { loadNative } from '../../extension/engine/load';
import type { NativeDecomposition } from '../../extension/core/native';
import { nodeFiles } from '../../extension/node/files';
import { context, RECIPE, temporary } from '../unit/export/harness';
import { bf16, decodeFile } from './format';
import { frontierRequest, tinyContext, writeTinyModel } from './tiny';

const SAMPLE = path.resolve('media/sample/tiny-books-4m');
const pipeline: PipelineContext = { ...context(), native: loadNative(path.resolve('dist/native')) };
const parameters = {
  scales: 'sqrt-of-means',
  iterations: 2,
  patience: 1,
  oversampling: 10,
  powerIterations: 1,
  seed: 1,
} as const;

/** Every weight of one layer in order, each under another configuration; 688 columns divide by no block. */
function targetsOf(source: CheckpointIndex): { name: string; option: Option }[] {
  const grid = paperGrid();
  return source.tensors
    .filter(({ name, shape }) => name.includes('layers.1.') && shape.length === 2)
    .map(({ name }, i) => ({
      name,
      option: paperOption(grid[(i * 97) % grid.length]!, i === 3 ? 0 : 8),
    }));
}

const stored = ({ file, offset, bytes }: TensorInfo): Float64Array => {
  const content = readFileSync(file).subarray(offset, offset + bytes);
  return Float64Array.from({ length: bytes / 2 }, (_, i) => bf16(content.readUInt16LE(2 * i)));
};

describe.each(['nf8', 'bf16', 'fp32'] satisfies FactorStorage[])('a decomposition stored with %s factors', factors => {
  const { folder, remove } = temporary();
  const results = new Map<string, NativeDecomposition>();
  let source: CheckpointIndex;
  let packed: CheckpointIndex;
  let decoded: Map<string, Float64Array>;

  beforeAll(async () => {
    source = await openCheckpoint(nodeFiles, SAMPLE);
    const targets = targetsOf(source);
    const out = path.join(folder, 'packed');
    const output = await createPackedOutput(pipeline, {
      source,
      targets,
      factors,
      recipe: RECIPE,
      out,
      overwrite: false,
    });
    for (const { name, tensor, option, source: place } of output.layout.matrices) {
      const destination = lqDestination(place as LqSource);
      const weight = tensorSource(tensor);
      const result = await pipeline.native.decompose('cpu', weight, lqOption(option)!, parameters, destination, {});
      results.set(name, result);
      await output.markDone(name, { ...result, trace: [...result.trace] });
    }
    await output.finish();
    packed = await openCheckpoint(nodeFiles, out);
    decoded = new Map(packed.shards.flatMap(shard => [...decodeFile(shard.file)]));
  });
  afterAll(() => remove());

  it('decodes, by an independent reader of the format, to the errors the engine reported', () => {
    expect([...decoded.keys()].sort()).toEqual([...readPacked(packed).keys()].sort());
    for (const [name, values] of decoded) {
      const weight = stored(source.byName.get(name)!);
      const error = values.reduce((sum, value, i) => sum + (value - weight[i]!) ** 2, 0);
      const norm = weight.reduce((sum, value) => sum + value ** 2, 0);
      expect(Math.abs(error / results.get(name)!.storedSquaredError - 1), name).toBeLessThan(1e-4);
      expect(error / norm).toBeLessThan(0.3);
    }
  });

  it('is exported densely as the nearest bf16 of the decoded values', async () => {
    const out = path.join(folder, 'dense');
    await findExporter('dense').run({ pipeline, index: packed, out, overwrite: false });
    const dense = await openCheckpoint(nodeFiles, out);
    expect(dense.tensors.map(tensor => tensor.name)).toEqual(source.tensors.map(tensor => tensor.name));
    for (const [name, values] of decoded) {
      const rounded = stored(dense.byName.get(name)!);
      // Half a unit in the last place, and the difference between single and double precision.
      const worst = values.reduce((most, value, i) => {
        return Math.max(most, Math.abs(rounded[i]! - value) / (Math.abs(value) * 2 ** -8 + 1e-6));
      }, 0);
      expect(worst, name).toBeLessThan(1.001);
    }
  });
});

describe('an exported folder is read back before it has its name', () => {
  const { folder, remove } = temporary();
  afterAll(() => remove());
  const out = path.join(folder, 'gguf');

  it('is refused where the disk does not hold what was written, and nothing looks whole', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const damaged: PipelineContext = {
      ...pipeline,
      files: {
        ...nodeFiles,
        // A letter of a name in the header.
        async writeAtomic(file, content) {
          await nodeFiles.writeAtomic(file, content);
          if (!file.endsWith('Modelfile')) return;
          const gguf = path.join(path.dirname(file), 'tiny-books-4m.gguf');
          const bytes = readFileSync(gguf);
          bytes.write('x', bytes.indexOf('blk.0.attn_norm.weight') + 'blk.0.attn_'.length);
          writeFileSync(gguf, bytes);
        },
      },
    };
    const work = findExporter('gguf').run({ pipeline: damaged, index, out, overwrite: false });
    await expect(work).rejects.toMatchObject({ code: 'io', tensor: 'model.layers.0.input_layernorm.weight' });
    expect(existsSync(out)).toBe(false);
  });

  it('says what was checked and which programs load it, and carries the model card on', async () => {
    const copied = path.join(folder, 'model');
    cpSync(SAMPLE, copied, { recursive: true });
    writeFileSync(path.join(copied, 'README.md'), '# The card');
    writeFileSync(path.join(copied, 'LICENSE'), 'Public domain');
    const index = await openCheckpoint(nodeFiles, copied);
    const { delivered } = await findExporter('gguf').run({ pipeline, index, out, overwrite: true });
    expect(delivered.carried).toEqual(['LICENSE', 'MODEL_CARD.md']);
    expect(readFileSync(path.join(out, 'MODEL_CARD.md'), 'utf8')).toBe('# The card');
    expect(delivered.files.map(({ name }) => name)).toContain('model.gguf');
    expect(delivered.checks[0]).toContain('All 39 weights');
    expect(delivered.loads.find(({ program }) => program.startsWith('llama.cpp'))).toMatchObject({ loads: 'yes' });
  });
});

describe('dense export in a float type', () => {
  const { folder, remove } = temporary();
  afterAll(() => remove());

  it.each([
    ['fp16', 'F16', 'float16'],
    ['fp32', 'F32', 'float32'],
  ] as const)('%s has the same values, nearest in it', async (dtype, stored, torch) => {
    const out = path.join(folder, dtype);
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    await findExporter('dense').run({ pipeline, index, out, overwrite: false, dtype });
    const written = await openCheckpoint(nodeFiles, out);
    expect(new Set(written.tensors.map(tensor => tensor.dtype))).toEqual(new Set([stored]));
    expect(readFileSync(path.join(out, 'config.json'), 'utf8')).toContain(torch);
    for (const { name } of index.tensors) {
      const [a, b] = [index, written].map(each => tensorSource(each.byName.get(name)!)) as [DenseSource, DenseSource];
      const { squaredError, squaredNorm } = await pipeline.native.difference('cpu', a, b, 1, 1, {});
      // Subnormals of F16 apart, bf16 is a subset of it.
      expect(squaredError, name).toBeLessThanOrEqual(dtype === 'fp32' ? 0 : 1e-9 * squaredNorm);
    }
  });

  it('refuses by name a weight that F16 cannot hold', async () => {
    const model = path.join(folder, 'large');
    cpSync(SAMPLE, model, { recursive: true });
    const { file, offset } = (await openCheckpoint(nodeFiles, model)).byName.get('model.norm.weight')!;
    const bytes = readFileSync(file);
    bytes.writeUInt16LE(0x4780, offset); // 65536
    writeFileSync(file, bytes);
    const index = await openCheckpoint(nodeFiles, model);
    const out = path.join(folder, 'refused');
    const run = (dtype: 'fp16' | 'fp32'): Promise<unknown> =>
      findExporter('dense').run({ pipeline, index, out, overwrite: false, dtype });
    await expect(run('fp16')).rejects.toMatchObject({ code: 'out-of-range', tensor: 'model.norm.weight' });
    expect(existsSync(out)).toBe(false);
    await run('fp32');
  });
});

describe('GGUF exported as dense', () => {
  const { folder, remove } = temporary();
  afterAll(() => remove());

  it('has the names, configuration and values of the checkpoint it was made from', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const [gguf, out] = [path.join(folder, 'gguf'), path.join(folder, 'dense')];
    await findExporter('gguf').run({ pipeline, index, out: gguf, overwrite: false });
    await findExporter('dense').run({
      pipeline,
      index: await openCheckpoint(nodeFiles, path.join(gguf, 'tiny-books-4m.gguf')),
      out,
      overwrite: false,
    });
    const back = await openCheckpoint(nodeFiles, out);
    expect(back.tensors.map(({ name }) => name).sort()).toEqual(index.tensors.map(({ name }) => name).sort());
    for (const { name } of index.tensors) {
      const [a, b] = [index, back].map(each => tensorSource(each.byName.get(name)!)) as [DenseSource, DenseSource];
      const { squaredError } = await pipeline.native.difference('cpu', a, b, 1, 1, {});
      expect([name, squaredError]).toEqual([name, 0]);
    }
    expect(back.config).toMatchObject({ model_type: 'llama', num_hidden_layers: 4, num_key_value_heads: 4 });
  });
});

describe('a compression whose codes a disk does not hold', () => {
  const { folder, remove } = temporary();
  afterAll(() => remove());

  it('is refused by the name of the matrix, since its values read back with another error', async () => {
    const model = writeTinyModel(folder);
    const out = path.join(folder, 'out');
    const good = tinyContext(path.join(folder, 'cache'));
    const damaged: PipelineContext = {
      ...good,
      native: {
        ...good.native,
        async encode(device, weight, option, parameters, destination, control) {
          const encoding = await good.native.encode(device, weight, option, parameters, destination, control);
          const { path: file, offset } = destination.parts.codes!;
          const bytes = readFileSync(file);
          bytes[offset] = bytes[offset]! ^ 0x77;
          writeFileSync(file, bytes);
          return encoding;
        },
      },
    };
    const request = {
      ...frontierRequest(model, out),
      for: 'compressed-tensors' as const,
      budget: { kind: 'bits' as const, value: 5 },
    };
    await expect(compress(damaged, request)).rejects.toMatchObject({
      code: 'io',
      message: expect.stringContaining('squared error') as unknown,
      tensor: expect.stringContaining('model.layers.') as unknown,
    });
    expect(existsSync(out)).toBe(false);
    // A disk that keeps what it is given.
    const kept = tinyContext(path.join(folder, 'cache'));
    await compress(kept, { ...request, out: `${out}-good` });
  });
});
