/** A low-rank part as an adapter of llama.cpp beside its base: together they are the compressed weights. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findExporter } from '../../extension/core/export/exporters';
import { weightLookup } from '../../extension/core/logical/lookup';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { CheckpointIndex, TensorInfo } from '../../extension/core/checkpoint/types';
import { compress } from '../../extension/core/pipeline';
import { exportCheckpoint } from '../../extension/core/stages/export';
import type { ExportReport } from '../../extension/core/reports';
import { nodeFiles } from '../../extension/node/files';
import { native } from './native';
import { paperRequest, tinyContext, writeTinyModel } from './tiny';
import { workFolder } from './running';

const { folder, clean } = workFolder();
afterAll(clean);
const context = tinyContext(path.join(folder, 'cache'));
const [packed, out] = [path.join(folder, 'packed'), path.join(folder, 'lora')];
let report: ExportReport;
beforeAll(async () => {
  await compress(context, paperRequest(writeTinyModel(folder), packed));
  report = await exportCheckpoint(context, { model: packed, out, format: 'gguf-lora', dtype: 'fp32' });
});

/** All values of a weight. */
async function values(index: CheckpointIndex, name: string): Promise<Float32Array> {
  const source = weightLookup(index)(name)!;
  return (await native.preview('cpu', source, source.rows, source.cols, {})).mean;
}

function floats({ file, offset, bytes }: TensorInfo): Float32Array {
  const content = Buffer.alloc(bytes);
  const handle = openSync(file, 'r');
  readSync(handle, content, 0, bytes, offset);
  closeSync(handle);
  return new Float32Array(new Uint8Array(content).buffer);
}

it('is said to load in llama.cpp with its base, and in nothing else', () => {
  const verdicts = Object.fromEntries(
    report.delivered.loads.map(({ program, loads }) => [program.split(' ')[0], loads]),
  );
  expect(verdicts).toMatchObject({ 'llama.cpp': 'yes', transformers: 'no', peft: 'no' });
  expect(report.delivered.checks.at(-1)).toBe('The adapter reads back with factors of 14 matrices.');
  expect(readFileSync(path.join(out, 'Modelfile'), 'utf8')).toBe(
    'FROM ./base/packed.gguf\nADAPTER ./packed-lora.gguf\n',
  );
});

it.each(['self_attn.q_proj', 'self_attn.o_proj', 'mlp.down_proj'])('adds up with its base to %s', async module => {
  const name = `model.layers.1.${module}.weight`;
  const [whole, base, adapter] = await Promise.all(
    [packed, path.join(out, 'base'), out].map(each => openCheckpoint(nodeFiles, each)),
  );
  const stored = { 'self_attn.q_proj': 'attn_q', 'self_attn.o_proj': 'attn_output', 'mlp.down_proj': 'ffn_down' }[
    module
  ]!;
  const tensor = (factor: string): TensorInfo => adapter!.byName.get(`blk.1.${stored}.weight.${factor}`)!;
  const [a, b] = [floats(tensor('lora_a')), floats(tensor('lora_b'))];
  const [rows, rank] = tensor('lora_b').shape as [number, number];
  const cols = tensor('lora_a').shape[1]!;
  const heads = adapter!.gguf && module.endsWith('q_proj') ? Number(base!.gguf!.get('llama.attention.head_count')) : 0;
  // llama.cpp has rotary pairs beside one another: row 2 i + j of a head is row j d / 2 + i of transformers.
  const storedRow = (row: number): number => {
    if (heads === 0) return row;
    const size = rows / heads;
    const [head, at] = [Math.floor(row / size), row % size];
    return head * size + 2 * (at % (size / 2)) + Math.floor(at / (size / 2));
  };
  const [wanted, rest] = [await values(whole!, name), await values(base!, name)];
  let [worst, update] = [0, 0];
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += b[storedRow(row) * rank + k]! * a[k * cols + col]!;
      update = Math.max(update, Math.abs(sum));
      worst = Math.max(worst, Math.abs(wanted[row * cols + col]! - rest[row * cols + col]! - sum));
    }
  expect(update).toBeGreaterThan(1e-3);
  expect(worst).toBeLessThan(1e-6);
});

it('is offered for checkpoints with a low-rank part alone', async () => {
  const exporter = findExporter('gguf-lora');
  expect(exporter.accepts(await openCheckpoint(nodeFiles, packed))).toBe(true);
  const model = path.join(folder, 'model');
  expect(exporter.accepts(await openCheckpoint(nodeFiles, model))).toBe(false);
  const work = exportCheckpoint(context, { model, out: path.join(folder, 'none'), format: 'gguf-lora' });
  await expect(work).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('low-rank') as string });
});
