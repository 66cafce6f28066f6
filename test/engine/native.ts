/** What the tests of the addon share. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { nativeBook } from '../../extension/core/options/books/registry';
import { paperGrid } from '../../extension/core/options/config';
import type { QuantConfig, ScaleType } from '../../extension/core/native';
import { loadNative } from '../../extension/engine/load';
import type { DenseSource, LqParameters, NativeSweepOption } from '../../extension/core/native';

export const native = loadNative(path.resolve('dist/native'));
const SAMPLE = path.resolve('media/sample/tiny-books-4m');
export { paperGrid };

export const PARAMETERS: LqParameters = {
  scales: 'sqrt-of-means',
  iterations: 25,
  patience: 3,
  oversampling: 10,
  powerIterations: 2,
  seed: 0,
};

/** `[b0, b1, b2, B0, B1]` as recorded files write it. */
export type Recorded = [number, number, string, number, number];

export const config = ([b0, b1, b2, B0, B1]: Recorded): QuantConfig => ({ b0, b1, b2: b2 as ScaleType, B0, B1 });

export const option = (recorded: Recorded, rank: number): NativeSweepOption => ({
  config: config(recorded),
  book: nativeBook('nf', recorded[0]),
  rank,
});

/** A tensor of a safetensors file, from its header. */
function tensor(file: string, name: string): DenseSource {
  const content = readFileSync(file);
  const start = 8 + Number(content.readBigUInt64LE());
  const header = JSON.parse(content.subarray(8, start).toString()) as Record<
    string,
    { dtype: 'BF16'; shape: [number, number]; data_offsets: [number, number] }
  >;
  const { dtype, shape, data_offsets } = header[name]!;
  return { kind: 'dense', path: file, offset: start + data_offsets[0], dtype, rows: shape[0], cols: shape[1] };
}

/** A tensor of the sample checkpoint. */
export function sampleTensor(name: string): DenseSource {
  const index = JSON.parse(readFileSync(path.join(SAMPLE, 'model.safetensors.index.json'), 'utf8')) as {
    weight_map: Record<string, string>;
  };
  return tensor(path.join(SAMPLE, index.weight_map[name]!), name);
}
