/**
 * Importance matrices of llama.cpp: the diagonal of E[x x^T] of every matrix's input, in both of its formats (tools/imatrix).
 *
 *   GGUF    general.type = "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; of each matrix NAME.in_sum2
 *           F32 [columns, experts], sums over tokens of squared inputs, and NAME.counts F32 [1, experts], how many tokens
 *   .dat    little-endian i32 entries; each i32 length, name, i32 calls, i32 columns, F32 mean squares x calls; then i32 chunks,
 *           i32 length, name of the text
 *
 * Names are those of GGUF. Files of either kind are read whatever they are called.
 */
import { ggufName } from '../checkpoint/gguf/names';
import { readGgufHeader } from '../checkpoint/gguf/header';
import { serializeGguf, type GgufField } from '../checkpoint/gguf/serialize';
import { serializeHeader, type TensorSpec } from '../checkpoint/serialize';
import type { LogicalTensor } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { LqError } from '../errors';
import type { FileSystem } from '../files/types';
import { diagonalSpecs, readDiagonals, statisticsMetadata, type Counts } from './calibration-file';

const SUMS = '.in_sum2';
const COUNTS = '.counts';
/** Entries and bytes of a name beyond which a file is not taken for an old importance matrix. */
const MOST_ENTRIES = 1e6;
const LONGEST_NAME = 1024;

/** What a file says: mean squares of each matrix's input by GGUF's name, and over how much text. */
interface Importance {
  readonly meanSquares: ReadonlyMap<string, Float32Array>;
  readonly chunks: number;
  /** Tokens a chunk. */
  readonly context: number;
}

/** Whether a file is an importance matrix; its first bytes say. */
export async function isImportanceMatrix(files: FileSystem, path: string): Promise<boolean> {
  return (await kindOf(files, path)) !== undefined;
}

async function kindOf(files: FileSystem, path: string): Promise<'gguf' | 'dat' | undefined> {
  const stat = await files.stat(path);
  if (stat === undefined || stat.directory || stat.bytes < 12) return undefined;
  const head = await files.read(path, 0, 12);
  if (new TextDecoder().decode(head.subarray(0, 4)) === 'GGUF') {
    const { metadata } = await readGgufHeader(files, path);
    return metadata.get('general.type') === 'imatrix' ? 'gguf' : undefined;
  }
  // A safetensors file has the length of its header there, and then an object.
  if (head[8] === 0x7b) return undefined;
  const view = new DataView(head.buffer, head.byteOffset);
  const [entries, length] = [view.getInt32(0, true), view.getInt32(4, true)];
  return entries > 0 && entries <= MOST_ENTRIES && length > 0 && length <= LONGEST_NAME ? 'dat' : undefined;
}

/**
 * Writes an importance matrix as calibration statistics of these targets: the mean squares of their inputs, and rows that all
 * weigh alike.
 * @throws LqError 'calibration-mismatch' naming the matrix that is missing or of another width, also for a damaged file.
 */
export async function importImportance(
  { files }: Pick<PipelineContext, 'files'>,
  path: string,
  targets: readonly Pick<LogicalTensor, 'name' | 'shape'>[],
  out: string,
): Promise<void> {
  const { meanSquares, chunks, context } =
    (await kindOf(files, path)) === 'gguf' ? await readGguf(files, path) : await readDat(files, path);
  const rows = targets.map(({ name, shape }) => {
    const [height, cols] = shape as [number, number];
    const values = meanSquares.get(ggufName(name) ?? '');
    const where = { file: path, tensor: name };
    if (values === undefined)
      throw new LqError('calibration-mismatch', `The importance matrix says nothing of ${name}.`, where);
    if (values.length !== cols)
      throw new LqError(
        'calibration-mismatch',
        `The importance matrix has ${values.length} columns for ${name}, which has ${cols}.`,
        where,
      );
    const mean = values.reduce((sum, value) => sum + value, 0) / cols;
    return { name, height, values, mean };
  });
  const specs: TensorSpec[] = rows.flatMap(({ name, height, values }) => diagonalSpecs(name, height, values.length));
  const header = serializeHeader(specs, {
    ...statisticsMetadata(
      rows.map(({ name }) => [name, name]),
      { samples: chunks, context, tokens: chunks * context },
    ),
    moments: 'diagonal',
  });
  const bytes = new Uint8Array(header.fileBytes);
  bytes.set(header.bytes);
  const view = new DataView(bytes.buffer);
  for (const [i, { height, values, mean }] of rows.entries()) {
    const [rowMean, meanSquare] = [header.tensors[2 * i]!, header.tensors[2 * i + 1]!];
    for (let k = 0; k < height; k++) view.setFloat32(rowMean.offset + 4 * k, mean, true);
    for (const [k, value] of values.entries()) view.setFloat32(meanSquare.offset + 4 * k, value, true);
  }
  await files.writeAtomic(out, bytes);
}

/**
 * Writes the diagonal of calibration statistics as an importance matrix: the old format where the name ends in `.dat`, else GGUF.
 * @param text name of the calibration text
 * @throws LqError 'unsupported-model' for a matrix that has no name in GGUF, and those of opening a statistics file.
 */
export async function exportImportance(
  context: PipelineContext,
  statistics: string,
  text: string,
  out: string,
): Promise<void> {
  const { counts, diagonals } = await readDiagonals(context, statistics);
  const entries = [...diagonals].map(([name, meanSquare]) => {
    const stored = ggufName(name);
    if (stored === undefined)
      throw new LqError('unsupported-model', `${name} has no name in an importance matrix.`, {
        file: statistics,
        tensor: name,
      });
    return { name: stored, meanSquare };
  });
  const bytes = out.endsWith('.dat') ? datBytes(entries, counts, text) : ggufBytes(entries, counts, text);
  await context.files.writeAtomic(out, bytes);
}

interface Entry {
  readonly name: string;
  readonly meanSquare: Float64Array;
}

// --- GGUF ---------------------------------------------------------------------------------------------------------------

function ggufBytes(entries: readonly Entry[], { samples, context, tokens }: Counts, text: string): Uint8Array {
  const fields = new Map<string, GgufField>([
    ['general.type', { type: 'string', value: 'imatrix' }],
    ['imatrix.datasets', { type: 'strings', value: [text] }],
    ['imatrix.chunk_count', { type: 'u32', value: samples }],
    ['imatrix.chunk_size', { type: 'u32', value: context }],
  ]);
  const header = serializeGguf(
    fields,
    entries.flatMap(({ name, meanSquare }) => [
      { name: `${name}${SUMS}`, type: 'F32' as const, shape: [1, meanSquare.length] },
      { name: `${name}${COUNTS}`, type: 'F32' as const, shape: [1, 1] },
    ]),
  );
  const bytes = new Uint8Array(header.fileBytes);
  bytes.set(header.bytes);
  const view = new DataView(bytes.buffer);
  for (const [i, { meanSquare }] of entries.entries()) {
    const [sums, counts] = [header.tensors[2 * i]!, header.tensors[2 * i + 1]!];
    for (const [k, value] of meanSquare.entries()) view.setFloat32(sums.offset + 4 * k, value * tokens, true);
    view.setFloat32(counts.offset, tokens, true);
  }
  return bytes;
}

async function readGguf(files: FileSystem, path: string): Promise<Importance> {
  const { metadata, tensors } = await readGgufHeader(files, path);
  const byName = new Map(tensors.map(tensor => [tensor.name, tensor]));
  const floats = async (name: string): Promise<Float32Array> => {
    const tensor = byName.get(name);
    if (tensor?.dtype !== 'F32') throw damaged(path, `${name} is not there as F32`);
    const raw = await files.read(path, tensor.offset, tensor.bytes);
    const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    return Float32Array.from({ length: tensor.bytes / 4 }, (_, i) => view.getFloat32(4 * i, true));
  };
  const meanSquares = new Map<string, Float32Array>();
  for (const { name } of tensors) {
    if (!name.endsWith(SUMS)) continue;
    const matrix = name.slice(0, -SUMS.length);
    const counts = await floats(`${matrix}${COUNTS}`);
    // Experts that are stored together have a row each; their matrices have no name of their own there.
    if (counts.length !== 1) continue;
    const count = counts[0]!;
    const sums = await floats(name);
    meanSquares.set(
      matrix,
      sums.map(sum => requireMeanSquare(count > 0 ? sum / count : 0, path, matrix)),
    );
  }
  const number = (key: string): number => {
    const value = metadata.get(`imatrix.${key}`);
    return typeof value === 'number' && value > 0 ? value : 1;
  };
  return { meanSquares, chunks: number('chunk_count'), context: number('chunk_size') };
}

// --- The old format -------------------------------------------------------------------------------------------------------

function datBytes(entries: readonly Entry[], { samples }: Counts, text: string): Uint8Array {
  const encoder = new TextEncoder();
  const named = entries.map(({ name, meanSquare }) => ({ name: encoder.encode(name), meanSquare }));
  const dataset = encoder.encode(text);
  const size = named.reduce((sum, { name, meanSquare }) => sum + 12 + name.length + 4 * meanSquare.length, 4);
  const bytes = new Uint8Array(size + 8 + dataset.length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const int = (value: number): void => {
    view.setInt32(at, value, true);
    at += 4;
  };
  const chars = (value: Uint8Array): void => {
    int(value.length);
    bytes.set(value, at);
    at += value.length;
  };
  int(named.length);
  for (const { name, meanSquare } of named) {
    chars(name);
    int(samples);
    int(meanSquare.length);
    for (const value of meanSquare) {
      view.setFloat32(at, value * samples, true);
      at += 4;
    }
  }
  int(samples);
  chars(dataset);
  return bytes;
}

/** Tokens a chunk of llama-imatrix has unless told otherwise; the old format does not say. */
const USUAL_CONTEXT = 512;

async function readDat(files: FileSystem, path: string): Promise<Importance> {
  const { bytes: size } = (await files.stat(path))!;
  const bytes = await files.read(path, 0, size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const need = (count: number): number => {
    if (count < 0 || at + count > size) throw damaged(path, 'it ends in the middle of an entry');
    at += count;
    return at - count;
  };
  const int = (): number => view.getInt32(need(4), true);
  const meanSquares = new Map<string, Float32Array>();
  let chunks = 1;
  const entries = int();
  for (let i = 0; i < entries; i++) {
    const length = int();
    const start = need(length);
    const name = new TextDecoder().decode(bytes.subarray(start, start + length));
    const [calls, columns] = [int(), int()];
    const values = need(4 * columns);
    chunks = Math.max(chunks, calls);
    meanSquares.set(
      name,
      Float32Array.from({ length: columns }, (_, k) =>
        requireMeanSquare(view.getFloat32(values + 4 * k, true) / Math.max(1, calls), path, name),
      ),
    );
  }
  return { meanSquares, chunks, context: USUAL_CONTEXT };
}

function requireMeanSquare(value: number, path: string, matrix: string): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw damaged(path, `a mean square of ${matrix} is ${value}`);
}

const damaged = (file: string, what: string): LqError =>
  new LqError('calibration-mismatch', `${file} is no importance matrix: ${what}.`, { file });
