import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { tensorSource } from '../../extension/core/checkpoint/sources';
import { selectTargets } from '../../extension/core/logical/targets';
import type { CheckpointIndex } from '../../extension/core/checkpoint/types';
import type { PipelineContext } from '../../extension/core/context';
import { evaluateCheckpoint } from '../../extension/core/evaluation/checkpoint';
import { describeModel, withLanguageModel } from '../../extension/core/evaluation/language-model';
import { windowLosses } from '../../extension/core/evaluation/perplexity';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { readWindows } from '../../extension/core/evaluation/windows';
import { findExporter } from '../../extension/core/export/exporters';
import { createPackedOutput } from '../../extension/core/packed/writer';
import { paperGrid, paperOption } from '../../extension/core/options/config';
import { lqOption } from '../../extension/core/options/native-option';
import { lqDestination } from '../../extension/core/packed/layout';
import type { LqSource } from '../../extension/core/native';
import { computeFisher, openFisher } from '../../extension/core/sensitivity/fisher';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';
import divergence from '../fixtures/divergence-tiny-books-4m.json';
import golden from '../fixtures/tiny-books-4m.json';
import { context, RECIPE, temporary, writeAt } from '../unit/export/harness';

const SAMPLE = path.resolve('media/sample/tiny-books-4m');
const CALIBRATION = path.resolve('media/sample/calibration.txt');
const EVALUATION = path.resolve('media/sample/evaluation.txt');

const { folder, remove } = temporary();
afterAll(() => remove());

function pipeline(changes: Partial<PipelineContext> = {}): PipelineContext {
  return { ...context(), native: loadNative(path.resolve('dist/native')), ...changes };
}

async function windowsOf(index: CheckpointIndex, text: string, windows: number) {
  const tokenizer = await TextTokenizer.load(pipeline(), index.folder);
  return readWindows(nodeFiles, tokenizer, 2048, text, { context: golden.ctx, windows });
}

/** A copy of the sample that a test may damage. */
async function copyOfSample(name: string): Promise<CheckpointIndex> {
  const copy = path.join(folder, name);
  cpSync(SAMPLE, copy, { recursive: true });
  return openCheckpoint(nodeFiles, copy);
}

describe('the language model of the sample checkpoint', () => {
  it('has the losses PyTorch and transformers give', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const windows = await windowsOf(index, CALIBRATION, golden.calib_first_losses.length);
    const losses = await windowLosses(pipeline(), describeModel(index), windows);
    golden.calib_first_losses.forEach((loss, i) => expect(Math.abs(losses[i]! - loss)).toBeLessThan(1e-5));
  });

  it('has their logits', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const logits = await withLanguageModel(pipeline(), describeModel(index), model =>
      model.logits(Int32Array.from(golden.eval_first64_tokens), {}),
    );
    const last = Array.from(logits.subarray(63 * 2048));
    for (const [id, value] of golden.logits_pos63_top5) expect(Math.abs(last[id!]! - value!)).toBeLessThan(1e-4);
    const logSumExp = Math.log(last.reduce((sum, z) => sum + Math.exp(z), 0));
    expect(Math.abs(logSumExp - golden.logits_pos63_logsumexp)).toBeLessThan(1e-4);
  });

  it('has the same perplexity in bf16 terms, to far below what a reader sees, or is refused by name', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const measure = (used: 'fp32' | 'bf16') =>
      evaluateCheckpoint({ ...pipeline(), precision: { used, asked: true } }, index, EVALUATION, {
        context: 512,
        windows: 8,
      });
    const single = await measure('fp32');
    expect(single.precision).toBe('fp32');
    if (pipeline().native.devices().devices[0]!.bf16 === 'none') {
      await expect(measure('bf16')).rejects.toThrow(/no instructions for products in bf16/);
      return;
    }
    const terms = await measure('bf16');
    expect(terms.precision).toBe('bf16');
    expect(terms.perplexity).not.toBe(single.perplexity);
    expect(Math.abs(terms.perplexity / single.perplexity - 1)).toBeLessThan(5e-6);
  });

  it('begins windows with its beginning-of-sequence token on request', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const plain = await evaluateCheckpoint(pipeline(), index, EVALUATION, { context: 64, windows: 4 });
    const begun = await evaluateCheckpoint(pipeline(), index, EVALUATION, { context: 64, windows: 4, bos: true });
    expect(plain).toMatchObject({ tokens: 4 * 63, windows: 4, context: 64, bos: false, device: 'cpu' });
    expect(begun.bos).toBe(true);
    expect(begun.perplexity).not.toBeCloseTo(plain.perplexity, 3);
    expect(plain.perplexity).toBeGreaterThan(5);
    expect(plain.perplexity).toBeLessThan(100);
  });

  it('is the same packed and exported densely, to the rounding of bf16', async () => {
    const source = await openCheckpoint(nodeFiles, SAMPLE);
    const config = paperGrid().find(({ b0, B0 }) => b0 === 3 && B0 === 64)!;
    const targets = ['self_attn.q_proj', 'mlp.down_proj'].map((module, i) => ({
      name: `model.layers.${i}.${module}.weight`,
      option: paperOption(config, i * 8),
    }));
    const out = path.join(folder, 'packed');
    const run = pipeline();
    const output = await createPackedOutput(run, {
      source,
      targets,
      factors: 'nf8',
      recipe: RECIPE,
      out,
      overwrite: false,
    });
    const parameters = {
      scales: 'sqrt-of-means',
      iterations: 2,
      patience: 1,
      oversampling: 8,
      powerIterations: 1,
    } as const;
    for (const { name, tensor, option, source: place } of output.layout.matrices) {
      const destination = lqDestination(place as LqSource);
      const weight = tensorSource(tensor);
      const seeded = { ...parameters, seed: 1 };
      const result = await run.native.decompose('cpu', weight, lqOption(option)!, seeded, destination, {});
      await output.markDone(name, { ...result, trace: [...result.trace] });
    }
    await output.finish();
    const packed = await openCheckpoint(nodeFiles, out);
    const denseFolder = path.join(folder, 'dense');
    await findExporter('dense').run({ pipeline: run, index: packed, out: denseFolder, overwrite: false });
    const windows = await windowsOf(source, EVALUATION, 2);
    const losses = async (index: CheckpointIndex) => windowLosses(run, describeModel(index), windows);
    const [before, after, dense] = [
      await losses(source),
      await losses(packed),
      await losses(await openCheckpoint(nodeFiles, denseFolder)),
    ];
    after.forEach((loss, i) => {
      expect(Math.abs(loss - dense[i]!)).toBeLessThan(2e-3);
      expect(loss).toBeGreaterThan(before[i]! + 5e-3);
    });
  });
});

describe('a model beside the one it was made from', () => {
  it('differs as PyTorch and transformers say', async () => {
    const index = await copyOfSample('damaged');
    const { file, offset, bytes } = index.byName.get(divergence.zeroed)!;
    writeAt({ path: file, offset }, new Uint8Array(bytes));
    const { windows, context: length } = divergence;
    const reference = await openCheckpoint(nodeFiles, SAMPLE);
    const report = await evaluateCheckpoint(pipeline(), index, EVALUATION, { context: length, windows }, reference);
    expect(report.perplexity / divergence.perplexity).toBeCloseTo(1, 5);
    expect(report.reference!.perplexity / divergence.reference).toBeCloseTo(1, 5);
    expect(report.reference!.kl.mean / divergence.kl.mean).toBeCloseTo(1, 4);
    expect(report.reference!.kl.p99 / divergence.kl.p99).toBeCloseTo(1, 4);
    expect(Math.abs(report.reference!.sameTop - divergence.sameTop)).toBeLessThan(0.002);
  });

  it('must read the text as the same tokens', async () => {
    const index = await copyOfSample('other-tokens');
    const tokenizer = path.join(index.folder, 'tokenizer.json');
    const definition = JSON.parse(readFileSync(tokenizer, 'utf8')) as { model: { merges: unknown[] } };
    definition.model.merges = definition.model.merges.slice(0, 10);
    writeFileSync(tokenizer, JSON.stringify(definition));
    const reference = await openCheckpoint(nodeFiles, SAMPLE);
    await expect(
      evaluateCheckpoint(pipeline(), index, EVALUATION, { context: 64, windows: 1 }, reference),
    ).rejects.toMatchObject({ code: 'tokenizer' });
  });
});

describe('Fisher information', () => {
  const out = path.join(folder, 'fisher.safetensors');

  it('has the sums and extremes PyTorch gives, over 64 sequences', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const targets = selectTargets(logicalTensors(index));
    const seen: number[] = [];
    const report = await computeFisher(pipeline({ report: ({ done }) => void seen.push(done) }), {
      index,
      targets,
      calibration: CALIBRATION,
      samples: golden.fisher_samples,
      contextLength: golden.ctx,
      model: 'of-the-sample',
      out,
    });
    expect(report.matrices.map(({ name }) => name).sort()).toEqual(Object.keys(golden.fisher).sort());
    for (const { name, sum, max } of report.matrices) {
      const expected = golden.fisher[name as keyof typeof golden.fisher];
      expect(Math.abs(sum / expected.sum - 1), name).toBeLessThan(1e-4);
      expect(Math.abs(max / expected.max - 1), name).toBeLessThan(1e-3);
    }
    golden.calib_first_losses.forEach((loss, i) => expect(Math.abs(report.losses[i]! - loss)).toBeLessThan(1e-5));
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBeCloseTo(64, 6);
    expect(existsSync(`${out}.partial`)).toBe(false);
    const file = await openCheckpoint(nodeFiles, out);
    expect(file.shards[0]!.metadata).toMatchObject({ samples: '64', context: '512', model: 'of-the-sample' });
    expect((await openFisher(pipeline(), out, targets)).hash).toBe(report.hash);
  }, 240_000);

  it('of another model is refused by the tensor that differs', async () => {
    const [first, ...others] = selectTargets(logicalTensors(await openCheckpoint(nodeFiles, SAMPLE)));
    const renamed = { ...first!, name: 'another.weight' };
    await expect(openFisher(pipeline(), out, [...others, renamed])).rejects.toMatchObject({
      code: 'fisher-mismatch',
      tensor: 'another.weight',
      file: out,
    });
    await expect(openFisher(pipeline(), out, [{ ...first!, shape: [1, 2] }])).rejects.toMatchObject({
      code: 'fisher-mismatch',
      tensor: first!.name,
    });
  });

  it('leaves nothing behind when it is cancelled, and stops within a second', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const stop = new AbortController();
    let stopped = 0;
    const report = ({ done }: { done: number }): void => {
      if (done === 0 || stopped > 0) return;
      stopped = performance.now();
      stop.abort();
    };
    const cancelled = path.join(folder, 'cancelled.safetensors');
    const running = computeFisher(pipeline({ signal: stop.signal, report }), {
      index,
      targets: selectTargets(logicalTensors(index)),
      calibration: CALIBRATION,
      samples: 64,
      contextLength: 512,
      model: '',
      out: cancelled,
    });
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
    expect(performance.now() - stopped).toBeLessThan(1000);
    expect(existsSync(cancelled) || existsSync(`${cancelled}.partial`)).toBe(false);
  });
});

describe('a checkpoint that cannot be run', () => {
  const evaluate = (index: CheckpointIndex) =>
    evaluateCheckpoint(pipeline(), index, EVALUATION, { context: 64, windows: 1 });

  it('with a NaN names file, tensor and place', async () => {
    const index = await copyOfSample('nan');
    const tensor = index.byName.get('model.layers.2.mlp.up_proj.weight')!;
    writeAt({ path: tensor.file, offset: tensor.offset + 2 * 1234 }, Uint8Array.of(0xc0, 0x7f));
    await expect(evaluate(index)).rejects.toMatchObject({
      code: 'not-finite',
      file: tensor.file,
      tensor: tensor.name,
      details: { index: 1234 },
    });
  });

  it('that shrank after it was opened names file and tensor', async () => {
    const index = await copyOfSample('shrunk');
    const [tensor] = [...index.tensors].sort((a, b) => b.file.localeCompare(a.file) || b.offset - a.offset);
    if (!tensor) throw new Error('the sample has tensors');
    writeFileSync(tensor.file, readFileSync(tensor.file).subarray(0, tensor.offset + 100));
    await expect(evaluate(index)).rejects.toMatchObject({ code: 'io', file: tensor.file, tensor: tensor.name });
  });

  it('of an unknown architecture is refused by its name', async () => {
    const index = await openCheckpoint(nodeFiles, SAMPLE);
    const other = { ...index, config: { ...index.config, model_type: 'mamba', architectures: ['MambaForCausalLM'] } };
    await expect(evaluate(other)).rejects.toMatchObject({
      code: 'unsupported-model',
      message: expect.stringMatching(/MambaForCausalLM.*state-space layers/),
    });
  });
});
