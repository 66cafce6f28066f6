import { describe, expect, it } from 'vitest';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { selectTargets } from '../../../extension/core/logical/targets';
import { tensorTree } from '../../../extension/core/checkpoint/tree';
import type { TensorSpec } from '../../../extension/core/checkpoint/serialize';
import type { LogicalTensor, TreeNode } from '../../../extension/core/checkpoint/types';
import { bf16, f32 } from './containers';
import { bert, formatSource, gemma2, gpt2, llama, phi2, phi3, qwen2, qwen3 } from './families';

/** The tree as indented lines; of a run of equal blocks the first is opened. */
function outline(nodes: readonly TreeNode[], indent = ''): string {
  return nodes
    .map(node => {
      const { tensor } = node;
      const what = tensor ? ` ${tensor.shape.join('x')} ${tensor.role}${tensor.transposed ? ' transposed' : ''}` : '';
      const line = `${indent}${node.label}${node.repeats ? ` (${node.repeats})` : ''}${what}\n`;
      return line + outline(node.repeats ? node.children[0]!.children : node.children, `${indent}  `);
    })
    .join('');
}

const families: Record<string, TensorSpec[]> = {
  llama: llama(3),
  qwen2: qwen2(2),
  qwen3: qwen3(2),
  gemma2: gemma2(2),
  phi2: phi2(2),
  phi3: phi3(2),
  gpt2: gpt2(12),
  bert: bert(2, 'bert'),
  roberta: bert(2, 'roberta'),
};

const logicalOf = (specs: readonly TensorSpec[], config?: Record<string, unknown>): LogicalTensor[] =>
  logicalTensors(formatSource(specs, config && { config }));

describe('golden trees', () => {
  for (const [family, specs] of Object.entries(families)) {
    it(family, async () => {
      await expect(outline(tensorTree(logicalOf(specs)))).toMatchFileSnapshot(`../../fixtures/trees/${family}.txt`);
    });
  }
});

describe('tensorTree', () => {
  const count = (nodes: readonly TreeNode[]): number =>
    nodes.reduce((sum, node) => sum + (node.tensor ? 1 : 0) + count(node.children), 0);
  const paths = (nodes: readonly TreeNode[]): string[] => nodes.flatMap(node => [node.path, ...paths(node.children)]);

  it('keeps every tensor, unique paths and the totals', () => {
    for (const specs of Object.values(families)) {
      const logical = logicalOf(specs);
      const tree = tensorTree(logical);
      expect(count(tree)).toBe(logical.length);
      const all = paths(tree);
      expect(new Set(all).size).toBe(all.length);
      const sum =
        (of: (x: { parameters: number; bytes: number }) => number) =>
        (items: readonly { parameters: number; bytes: number }[]) =>
          items.reduce((total, item) => total + of(item), 0);
      expect(sum(x => x.parameters)(tree)).toBe(sum(x => x.parameters)(logical));
      expect(sum(x => x.bytes)(tree)).toBe(sum(x => x.bytes)(logical));
    }
  });

  it('splits runs where blocks differ or numbers are missing', () => {
    const block = (i: number, width: number): TensorSpec => bf16(`l.${i}.w.weight`, width, 2);
    const tree = tensorTree(logicalOf([0, 1, 2, 3, 4, 6, 7].map(i => block(i, i < 2 ? 3 : 5))));
    expect(tree[0]!.children.map(({ label, repeats }) => [label, repeats])).toEqual([
      ['l.0-1', 2],
      ['l.2-4', 3],
      ['l.6-7', 2],
    ]);
    expect(tree[0]!.children[0]!.children.map(({ path }) => path)).toEqual(['l.0', 'l.1']);
  });

  it('leaves bare numbered tensors alone and folds experts inside layers', () => {
    expect(tensorTree(logicalOf([f32('a.0', 1), f32('a.1', 1)]))[0]!.children).toHaveLength(2);
    const experts = [0, 1].flatMap(l => [0, 1, 2].map(e => bf16(`layers.${l}.mlp.experts.${e}.w1.weight`, 4, 4)));
    expect(outline(tensorTree(logicalOf(experts)))).toBe(
      'layers.0-1 (2)\n  mlp\n    experts.0-2 (3)\n      w1\n        weight 4x4 gate\n',
    );
  });

  it('shows any names: a tensor that is also a module, empty labels, extreme depth and length, a forged range', () => {
    const names = [
      'a',
      'a.b',
      '',
      '.',
      'a..b',
      '__proto__',
      `${'x.'.repeat(5000)}y`,
      'z'.repeat(10_000),
      'l.0-1.w',
      'l.0.w',
      'l.1.w',
    ];
    const tree = tensorTree(logicalOf(names.map(name => f32(name, 1))));
    expect(count(tree)).toBe(names.length);
    const all = paths(tree);
    expect(new Set(all).size).toBe(all.length);
  });
});

describe('selectTargets', () => {
  it.each([
    ['llama', 7 * 3],
    ['qwen2', 7 * 2],
    ['qwen3', 7 * 2],
    ['gemma2', 7 * 2],
    ['phi2', 6 * 2],
    ['phi3', 4 * 2],
    ['gpt2', 4 * 12],
    ['bert', 6 * 2],
    ['roberta', 6 * 2],
  ])('finds the linear weights of the blocks of %s', (family, expected) => {
    const targets = selectTargets(logicalOf(families[family]!));
    expect(targets).toHaveLength(expected);
    expect(targets.every(({ shape, layer }) => shape.length === 2 && layer >= 0)).toBe(true);
  });

  it('finds as many as the paper: 224 of Llama-2-7B, 560 of 70B, 144 of RoBERTa-large', () => {
    expect(selectTargets(logicalOf(llama(32)))).toHaveLength(224);
    expect(selectTargets(logicalOf(llama(80)))).toHaveLength(560);
    expect(selectTargets(logicalOf(bert(24, 'roberta')))).toHaveLength(144);
  });

  it('narrows by include and exclude, which reach every matrix', () => {
    const logical = logicalOf(llama(3));
    const names = (include?: string[], exclude?: string[]) =>
      selectTargets(logical, include, exclude).map(({ name }) => name);
    expect(names(['*.0.*q_proj*'])).toEqual(['model.layers.0.self_attn.q_proj.weight']);
    expect(names(['*'])).toHaveLength(23);
    expect(names(['lm_head'])).toEqual(['lm_head.weight']);
    expect(names(undefined, ['*.mlp.*'])).toHaveLength(12);
    expect(names(['*q_proj', '*k_proj'], ['*.1.*'])).toHaveLength(4);
  });

  it('takes unknown two-dimensional weights by name only', () => {
    const logical = logicalOf([f32('strange.weight', 4, 4)]);
    expect(() => selectTargets(logical)).toThrow(expect.objectContaining({ code: 'no-targets' }));
    expect(selectTargets(logical, ['strange*'])).toHaveLength(1);
  });

  it('says why nothing is left', () => {
    const quantised = logicalOf([
      { name: 'layers.0.q_proj.weight', dtype: 'F8_E4M3', shape: [4, 4] },
      { name: 'layers.0.q_proj.weight_scale', dtype: 'F32', shape: [1] },
    ]);
    expect(() => selectTargets(quantised)).toThrow(/F8_E4M3 \(fp8\)/);
    expect(() => selectTargets(logicalOf(llama(1)), ['nothing'])).toThrow(/include and exclude/);
  });
});

it('GPT-2 by its shapes or its configuration is transposed, StarCoder is not', () => {
  const q = (config?: Record<string, unknown>) =>
    logicalOf(gpt2(1), config).find(({ role }) => role === 'qkv')!.transposed;
  expect([q(), q({ model_type: 'gpt2' }), q({ model_type: 'gpt_bigcode' })]).toEqual([true, true, false]);
  const embedding = logicalOf(gpt2(1)).find(({ role }) => role === 'embedding')!;
  expect(embedding.transposed).toBe(false);
});
