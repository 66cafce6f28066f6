/** A pipeline context on a real temporary folder with a native module that only moves bytes. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync, openSync, writeSync, closeSync, rmSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { serializeHeader, serializeIndex, type TensorSpec } from '../../../extension/core/checkpoint/serialize';
import type { CheckpointIndex } from '../../../extension/core/checkpoint/types';
import type { WritableFileSystem } from '../../../extension/core/files/types';
import type { PipelineContext } from '../../../extension/core/context';
import type { MatrixErrors, PackedRecipe } from '../../../extension/core/packed/writer';
import type { ByteRange, DenseSource, LqDestination, LqSource, NativeModule } from '../../../extension/core/native';
import { nodeFiles } from '../../../extension/node/files';
import { identity } from '../../../extension/node/identity';

export const bytesAt = ({ path: file, offset, bytes }: ByteRange): Buffer =>
  readFileSync(file).subarray(offset, offset + bytes);

export function writeAt({ path: file, offset }: { path: string; offset: number }, bytes: Uint8Array): void {
  const handle = openSync(file, 'r+');
  writeSync(handle, bytes, 0, bytes.length, offset);
  closeSync(handle);
}

/** Fills every part of a destination with bytes derived from its place in the list. */
export function fillParts(destination: LqDestination): void {
  for (const [i, range] of partRanges(destination).entries())
    writeAt(
      range,
      Uint8Array.from({ length: range.bytes }, (_, k) => 1 + ((i * 37 + k) % 200)),
    );
}

export function partRanges({ codes, scales, groups, offset, l1, l2 }: LqDestination): ByteRange[] {
  const ranges = [codes, scales, groups, offset];
  for (const factor of [l1, l2]) {
    if (!factor) continue;
    if (factor.kind === 'packed') ranges.push(...partRanges(factor.packed));
    else ranges.push({ path: factor.path, offset: factor.offset, bytes: factor.rows * factor.cols * 2 });
  }
  return ranges;
}

/** Copies really; "reconstructs" by writing a byte pattern that depends on the first code; has no exchange of names. */
const native = {
  hash: (range: ByteRange) => Promise.resolve(createHash('sha256').update(bytesAt(range)).digest('hex')),
  copy(from: ByteRange, to: ByteRange) {
    writeAt(to, bytesAt(from));
    return Promise.resolve();
  },
  exchange: () => Promise.resolve(false),
  reconstruct(_device: string, source: LqSource, destination: DenseSource) {
    const code = bytesAt(source.quantized.codes)[0]!;
    writeAt(destination, new Uint8Array(destination.rows * destination.cols * 2).fill(code));
    return Promise.resolve();
  },
} as Partial<NativeModule> as NativeModule;

let cache = '';
/** From here on contexts have a new and empty cache. */
export function newCache(): void {
  if (cache !== '') rmSync(cache, { recursive: true, force: true });
  cache = mkdtempSync(path.join(tmpdir(), 'lq-cache-'));
}
newCache();
process.on('exit', () => rmSync(cache, { recursive: true, force: true }));

export function context(changes: Partial<WritableFileSystem> = {}, signal?: AbortSignal): PipelineContext {
  return {
    native: { ...native },
    files: { ...nodeFiles, ...changes },
    device: 'cpu',
    devices: ['cpu'],
    lanes: ['cpu'],
    threads: 0,
    cache,
    seed: 1,
    self: identity,
    precision: { used: 'fp32', asked: false },
    claimTimeout: 60_000,
    signal: signal ?? new AbortController().signal,
    digest: text => createHash('sha256').update(text).digest('hex'),
    now: () => performance.now(),
    report: () => undefined,
    log: () => undefined,
  };
}

export function temporary(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(path.join(tmpdir(), 'lq-export-'));
  return { folder, remove: () => rmSync(folder, { recursive: true }) };
}

/** Configuration text with numbers that a JSON round trip would change. */
export const CONFIG_TEXT = '{\n  "model_type": "llama",\n  "rms_norm_eps": 1e-05,\n  "rope_theta": 10000.0\n}\n';

/** Two shards: two matrices, norms in between, an embedding. Sizes that no block divides. */
export async function makeModel(folder: string): Promise<CheckpointIndex> {
  const shards: TensorSpec[][] = [
    [
      { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [50, 10] },
      { name: 'model.layers.0.norm.weight', dtype: 'F32', shape: [7] },
      { name: 'model.layers.0.q_proj.weight', dtype: 'BF16', shape: [30, 11] },
    ],
    [
      { name: 'lm_head.weight', dtype: 'BF16', shape: [50, 10] },
      { name: 'model.layers.1.q_proj.weight', dtype: 'BF16', shape: [9, 65] },
    ],
  ];
  mkdirSync(folder, { recursive: true });
  const planned = shards.map((tensors, i) => ({ file: `model-0000${i + 1}-of-00002.safetensors`, tensors }));
  let seed = 0;
  const bytes = planned.map(({ file, tensors }) => {
    const header = serializeHeader(tensors, { format: 'pt' });
    const content = Buffer.alloc(header.fileBytes);
    content.set(header.bytes);
    for (let i = header.bytes.length; i < content.length; i++) content[i] = (seed = (seed * 75 + 74) % 65537) & 255;
    writeFileSync(path.join(folder, file), content);
    return header.fileBytes - header.bytes.length;
  });
  writeFileSync(
    path.join(folder, 'model.safetensors.index.json'),
    serializeIndex(planned.map((shard, i) => ({ ...shard, bytes: bytes[i]! }))),
  );
  writeFileSync(path.join(folder, 'config.json'), CONFIG_TEXT);
  writeFileSync(path.join(folder, 'tokenizer.json'), '{}');
  writeFileSync(path.join(folder, 'tokenizer_config.json'), '{}');
  writeFileSync(path.join(folder, 'generation_config.json'), '{}');
  writeFileSync(path.join(folder, 'training.log'), 'not part of a model');
  return openCheckpoint(nodeFiles, folder);
}

export const RECIPE: PackedRecipe = {
  source: { label: 'tiny', hash: '0123456789abcdef', parameters: 1000, bytes: 2000 },
  method: {
    method: 'lq-lora',
    metric: { kind: 'plain' },
    loop: { scales: 'sqrt-of-means', iterations: 25, patience: 1, oversampling: 10, powerIterations: 2 },
    seed: 1,
  },
  budget: { kind: 'bits', value: 3 },
};

export const ERRORS: MatrixErrors = {
  cost: 1,
  squaredError: 1,
  quantizedCost: 2,
  storedCost: 1,
  storedSquaredError: 1,
  iterations: 3,
  bestIteration: 2,
  trace: [2, 1, 1.5],
};
