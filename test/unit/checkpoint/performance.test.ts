import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { serializeHeader, serializeIndex, type TensorSpec } from '../../../extension/core/checkpoint/serialize';
import { selectTargets } from '../../../extension/core/logical/targets';
import { tensorTree } from '../../../extension/core/checkpoint/tree';
import { nodeFiles } from '../../../extension/node/files';
import { bf16 } from './containers';

/** Llama-2-70B: 80 layers of nine tensors and three more, 138 GB in 15 shards, as sparse files that hold headers only. */
function llama70b(): TensorSpec[] {
  const [hidden, kv, intermediate, vocabulary] = [8192, 1024, 28672, 32000];
  const layers = Array.from({ length: 80 }, (_, i) => {
    const path = `model.layers.${i}`;
    return [
      bf16(`${path}.self_attn.q_proj.weight`, hidden, hidden),
      bf16(`${path}.self_attn.k_proj.weight`, kv, hidden),
      bf16(`${path}.self_attn.v_proj.weight`, kv, hidden),
      bf16(`${path}.self_attn.o_proj.weight`, hidden, hidden),
      bf16(`${path}.mlp.gate_proj.weight`, intermediate, hidden),
      bf16(`${path}.mlp.up_proj.weight`, intermediate, hidden),
      bf16(`${path}.mlp.down_proj.weight`, hidden, intermediate),
      bf16(`${path}.input_layernorm.weight`, hidden),
      bf16(`${path}.post_attention_layernorm.weight`, hidden),
    ];
  });
  return [
    bf16('model.embed_tokens.weight', vocabulary, hidden),
    ...layers.flat(),
    bf16('model.norm.weight', hidden),
    bf16('lm_head.weight', vocabulary, hidden),
  ];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lq-70b-'));
  const tensors = llama70b();
  const perShard = Math.ceil(tensors.length / 15);
  const shards = [];
  for (let i = 0; i < 15; i++) {
    const own = tensors.slice(i * perShard, (i + 1) * perShard);
    const header = serializeHeader(own, { format: 'pt' });
    const file = `model-${String(i + 1).padStart(5, '0')}-of-00015.safetensors`;
    const handle = await open(join(folder, file), 'w');
    await handle.write(header.bytes);
    await handle.truncate(header.fileBytes);
    await handle.close();
    shards.push({ file, tensors: own, bytes: header.fileBytes - header.bytes.length });
  }
  await writeFile(join(folder, 'model.safetensors.index.json'), serializeIndex(shards));
  await writeFile(join(folder, 'config.json'), '{"model_type":"llama"}');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('opens a 70B index of 723 tensors in 15 shards to a tree within its time', async () => {
  const times: number[] = [];
  for (let run = 0; run < 9; run++) {
    const start = performance.now();
    const index = await openCheckpoint(nodeFiles, folder);
    const logical = logicalTensors(index);
    const tree = tensorTree(logical);
    times.push(performance.now() - start);
    expect(index.problems).toEqual([]);
    expect([index.tensors.length, index.shards.length, index.parameters]).toEqual([723, 15, 68_976_648_192]);
    expect(tree.map(({ label }) => label)).toEqual(['lm_head', 'model']);
    expect(tree[1]!.children.find(({ repeats }) => repeats === 80)).toBeDefined();
    expect(selectTargets(logical)).toHaveLength(560);
  }
  // 50 ms is the goal on a quiet machine; the bound leaves room for a busy one.
  expect(Math.min(...times)).toBeLessThan(150);
});
