/** A small checkpoint beside what transformers computes of it (language_models.py). */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { TensorInfo } from '../../extension/core/checkpoint/types';
import { describeModel, forWindows } from '../../extension/core/evaluation/language-model';
import { GRADIENT_KINDS } from '../../extension/core/evaluation/weights';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { NativeModule } from '../../extension/core/native';
import { nodeFiles } from '../../extension/node/files';

interface Expected {
  tokens: number[];
  context: number;
  losses: number[];
  logits: number[];
  /** The token that masked ones were replaced with, where those are predicted. */
  mask?: number;
}

const floats = ({ file, offset, bytes }: Pick<TensorInfo, 'file' | 'offset' | 'bytes'>): Float32Array =>
  new Float32Array(Uint8Array.from(readFileSync(file).subarray(offset, offset + bytes)).buffer);

const worst = (ours: ArrayLike<number>, theirs: ArrayLike<number>): number => {
  expect(ours.length).toBe(theirs.length);
  return Array.from(ours).reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i]!)), 0);
};

/**
 * Losses, logits and the squared gradient of every matrix of a block equal those of transformers.
 * @returns what there is to know about the network
 */
export async function expectSameModel(native: NativeModule, folder: string, name: string): Promise<readonly string[]> {
  const index = await openCheckpoint(nodeFiles, path.join(folder, name));
  const expected = JSON.parse(readFileSync(path.join(folder, name, 'expected.json'), 'utf8')) as Expected;
  const tokens = Int32Array.from(expected.tokens);
  const description = describeModel(index);
  expect(description.masked).toBe(expected.mask !== undefined);
  const { config, weights, warnings } = forWindows(description, expected);
  const model = await native.openLanguageModel('cpu', config, [...weights]);
  try {
    const losses = await model.losses(tokens, expected.context, {});
    expect(worst(losses, expected.losses)).toBeLessThan(1e-5 * Math.min(...expected.losses));
    const logits = await model.logits(tokens.subarray(0, expected.context), {});
    const size = expected.logits.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
    expect(worst(logits, expected.logits)).toBeLessThan(2e-5 * size);

    const theirs = await openCheckpoint(nodeFiles, path.join(folder, name, 'fisher.safetensors'));
    const out = path.join(folder, `${name}.fisher`);
    const targets = weights.filter(({ kind }) => GRADIENT_KINDS.has(kind));
    if (config.experts === undefined) {
      const attention = config.fusedQkv === undefined ? 4 : 2;
      const mlp = config.plainMlp === true || config.fusedGateUp !== undefined ? 2 : 3;
      expect(targets).toHaveLength((attention + mlp) * config.layers);
    }
    let end = 0;
    const gradients = targets.map(({ name: _, source, ...place }) => {
      const bytes = 4 * source.rows * source.cols;
      const fisher = { path: out, offset: end, bytes };
      end += bytes;
      return { ...place, fisher };
    });
    writeFileSync(out, '');
    truncateSync(out, end);
    await model.calibrate(tokens, expected.context, { gradients, inputs: [] }, {});
    targets.forEach((target, i) => {
      const stored = floats(theirs.byName.get(target.name)!);
      const { rows, cols } = target.source;
      // A Conv1D's are [in, out].
      const turned =
        target.source.kind === 'dense' && target.source.transposed === true && !/\[\d+\]$/.test(target.name);
      const reference = turned ? stored.map((_, at) => stored[(at % cols) * rows + Math.floor(at / cols)]!) : stored;
      const largest = reference.reduce((a, b) => Math.max(a, b));
      const { offset, bytes } = gradients[i]!.fisher;
      const off = worst(floats({ file: out, offset, bytes }), reference);
      // An expert that no token reached has no gradient on either side.
      expect(off, target.name).toBeLessThanOrEqual(1e-4 * largest);
    });
  } finally {
    model.close();
  }
  return warnings;
}
