/** Legal and odd configurations against transformers: the same loss, or refused by name. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LqError } from '../../extension/core/errors';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { openCheckpoint } from '../../extension/core/logical/open';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

interface Case {
  expected: 'equal' | 'refused';
  context: number;
  tokens?: number[];
  loss?: number;
  /** Why transformers has no loss. */
  error?: string;
}

const folder = mkdtempSync(path.join(tmpdir(), 'lq-cases-'));
const native = loadNative(path.resolve('dist/native'));
let cases: [string, Case][] = [];

beforeAll(async () => {
  const python = path.resolve('.deps/venv/bin/python');
  await promisify(execFile)(python, [path.resolve('test/interop/model_cases.py'), folder], { maxBuffer: 1 << 26 });
  cases = Object.entries(JSON.parse(readFileSync(path.join(folder, 'cases.json'), 'utf8')) as Record<string, Case>);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Our mean loss, or why there is none. */
async function ours(name: string, { context, tokens }: Case): Promise<number | LqError> {
  const index = await openCheckpoint(nodeFiles, path.join(folder, name));
  try {
    const { config, weights } = describeModel(index, { context });
    const model = await native.openLanguageModel('cpu', config, [...weights]);
    try {
      const losses = await model.losses(Int32Array.from(tokens ?? []), context, {});
      return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    } finally {
      model.close();
    }
  } catch (error) {
    if (error instanceof LqError) return error;
    throw error;
  }
}

describe('configurations of the families that can be run, and others', () => {
  it('have the loss of transformers, or are refused by name', async () => {
    expect(cases.length).toBeGreaterThan(150);
    const wrong: string[] = [];
    for (const [name, each] of cases) {
      const found = await ours(name, each);
      const same = each.loss !== undefined && typeof found === 'number' && Math.abs(found - each.loss) <= 1e-4;
      // What is refused today may run tomorrow, and is then held to the same loss.
      if (each.expected === 'refused') {
        const typed = found instanceof LqError && ['unsupported-model', 'tensor-not-found'].includes(found.code);
        if (!typed && !same) wrong.push(`${name}: ${String(found)} instead of a refusal or ${each.loss}`);
      } else if (each.loss === undefined) wrong.push(`${name}: transformers says ${each.error}`);
      else if (!same) wrong.push(`${name}: ${String(found)} where transformers has ${each.loss}`);
    }
    expect(wrong).toEqual([]);
  });

  it('are tied or not as transformers ties them: a head of its own is told of', async () => {
    const index = await openCheckpoint(nodeFiles, path.join(folder, 'llama-tied-with-head'));
    expect(describeModel(index).warnings).toEqual([expect.stringContaining('lm_head.weight in the file was used')]);
  });

  it('tell of tensors that are no part of the network', async () => {
    const warnings = async (name: string) =>
      describeModel(await openCheckpoint(nodeFiles, path.join(folder, name))).warnings;
    expect(await warnings('llama')).toEqual([]);
    expect(await warnings('llama-extra-tensors')).toEqual([
      'model.layers.7.mlp.up_proj.weight in the file is no part of the network.',
    ]);
    expect(await warnings('qwen3-fewer-layers')).toEqual([expect.stringMatching(/and 8 more in the file are/)]);
  });
});
