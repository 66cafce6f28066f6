import path from 'node:path';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../extension/core/logical/open';
import { tensorSource } from '../../extension/core/checkpoint/sources';
import type { CheckpointIndex, TensorInfo } from '../../extension/core/checkpoint/types';
import type { PipelineContext } from '../../extension/core/context';
import { findExporter } from '../../extension/core/export/exporters';
import { readPacked } from '../../extension/core/packed/reader';
import { createPackedOutput } from '../../extension/core/packed/writer';
import { paperGrid, paperOption } from '../../extension/core/options/config';
import { lqOption } from '../../extension/core/options/native-option';
import { lqDestination } from '../../extension/core/packed/layout';
import type { LqSource } from '../../extension/core/native';
import type { FactorStorage, Option } from '../../extension/core/options/types';
import { loadNative } from '../../extension/engine/load';
import type { NativeDecomposition } from '../../extension/core/native';
import { nodeFiles } from '../../extension/node/files';
import { context, RECIPE, temporary } from '../unit/export/harness';
import { bf16, decodeFile } from './format';

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
