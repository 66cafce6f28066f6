import { describe, expect, it } from 'vitest';
import { joinSlices, slicesOf, targetTensors } from '../../../extension/core/checkpoint/slices';
import type { TensorSpec } from '../../../extension/core/checkpoint/serialize';
import { elementTensor, tensorSource } from '../../../extension/core/checkpoint/sources';
import type { CheckpointIndex, TensorInfo } from '../../../extension/core/checkpoint/types';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { coverageOf, selectTargets, withoutTargets } from '../../../extension/core/logical/targets';
import { formatCoverage } from '../../../extension/core/format';
import type { FormatSource } from '../../../extension/core/logical/formats/recogniser';
import { formatSource } from './families';

const bf16 = (name: string, ...shape: number[]): TensorSpec => ({ name, dtype: 'BF16', shape });
const logicalOf = (specs: readonly TensorSpec[]) => logicalTensors(formatSource(specs));

describe('targets by structure', () => {
  // Names and relative shapes as transformers 5 saves these models.
  it.each<[string, TensorSpec, string | undefined]>([
    ['GPT-J', bf16('transformer.h.0.mlp.fc_in.weight', 8, 4), undefined],
    ['ModernBERT', bf16('layers.0.attn.Wqkv.weight', 12, 4), undefined],
    ['DeBERTa', bf16('encoder.layer.0.attention.self.query_proj.weight', 4, 4), undefined],
    ['DeepSeek', bf16('model.layers.0.self_attn.kv_a_proj_with_mqa.weight', 6, 4), undefined],
    ['Qwen3-Next', bf16('model.layers.0.linear_attn.in_proj_qkvz.weight', 12, 4), undefined],
    ['Mamba', bf16('backbone.layers.0.mixer.x_proj.weight', 6, 8), undefined],
    ['Mamba, state matrix', bf16('backbone.layers.0.mixer.A_log', 8, 4), 'parameters that are not named as weights'],
    ['Mamba, convolution', bf16('backbone.layers.0.mixer.conv1d.weight', 8, 1, 4), 'convolutions'],
    ['RWKV', bf16('rwkv.blocks.0.feed_forward.key.weight', 8, 4), undefined],
    ['attention of PyTorch', bf16('encoder.layers.0.self_attn.in_proj_weight', 12, 4), undefined],
    ['diffusion transformer', bf16('transformer_blocks.0.attn.to_out.0.weight', 4, 4), undefined],
    ['Mixtral, router', bf16('model.layers.0.block_sparse_moe.gate.weight', 2, 4), 'routers of experts'],
    ['gpt-oss, router', bf16('model.layers.0.mlp.router.weight', 2, 4), 'routers of experts'],
    [
      'T5, positions',
      bf16('decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight', 32, 4),
      'embeddings',
    ],
    [
      'a gate for one expert',
      bf16('model.layers.0.mlp.shared_expert_gate.weight', 1, 4),
      'norms, biases and other vectors',
    ],
    ['biases of experts', bf16('model.layers.0.mlp.experts.down_proj_bias', 2, 4), 'norms, biases and other vectors'],
  ])('%s', (_, spec, reason) => {
    const experts = bf16('model.layers.0.block_sparse_moe.experts.0.w1.weight', 8, 4);
    const logical = logicalOf([spec, experts]);
    const targets = selectTargets(logical);
    expect(targets.some(({ name }) => name === spec.name)).toBe(reason === undefined);
    const left = coverageOf(logical, targets).left;
    expect(left.find(({ example }) => example === spec.name)?.reason).toBe(reason);
  });

  it('takes experts that are stored together one by one', () => {
    const name = 'model.layers.0.mlp.experts.gate_up_proj';
    const [tensor] = logicalOf([bf16(name, 3, 4, 10)]);
    const targets = selectTargets([tensor!]);
    expect(targets.map(target => [target.name, target.shape, target.parameters])).toEqual(
      [0, 1, 2].map(i => [`${name}[${i}]`, [4, 10], 40]),
    );
    const { offset } = tensor!.parts[0]!;
    expect(targets.map(({ parts }) => [parts[0]!.offset - offset, parts[0]!.bytes])).toEqual([
      [0, 80],
      [80, 80],
      [160, 80],
    ]);
    expect(selectTargets([tensor!], [], [`${name}\\[1\\]`]).map(target => target.name)).toEqual([
      `${name}[0]`,
      `${name}[2]`,
    ]);
  });

  it('say what is stored as something else, excluded, or dropped', () => {
    const logical = logicalOf([
      bf16('layers.0.a.weight', 4, 4),
      { name: 'layers.0.b.weight', dtype: 'F64', shape: [4, 4] },
      bf16('layers.0.c.weight', 4, 4),
      bf16('layers.0.d.weight', 4, 4),
      bf16('lm_head.weight', 9, 4),
    ]);
    const targets = selectTargets(logical, [], ['*.c.*']);
    const coverage = coverageOf(logical, targets);
    expect(coverage).toMatchObject({ weights: 32, blockWeights: 64 });
    expect(coverage.left.map(({ reason, weights }) => [reason, weights])).toEqual([
      [expect.stringContaining('stored as F64'), 16],
      ['excluded, or not included', 16],
    ]);
    const dropped = withoutTargets(coverage, [{ target: targets[1]!, reason: 'too large' }]);
    expect(dropped).toMatchObject({
      weights: 16,
      left: [{ reason: 'too large', example: 'layers.0.d.weight' }, {}, {}],
    });
    expect(formatCoverage(dropped)).toMatch(/^25 % of the 64 weights.*too large \(layers\.0\.d\.weight, 16\)/);
  });
});

describe('slices', () => {
  const place = { ...bf16('x.experts.w', 2, 3, 4), file: 'f', offset: 100, bytes: 48 };
  const index = {
    tensors: [place],
    byName: new Map([[place.name, place]]),
  } as Partial<CheckpointIndex> as CheckpointIndex;

  const target = (name: string): { name: string; parts: TensorInfo[] } => ({ name, parts: [] });

  it('stand for their tensor where one of them is wanted', () => {
    const { tensors, byName } = targetTensors(index, [target('x.experts.w[1]'), target('y[0]')]);
    expect(tensors.map(({ name, offset, bytes, shape }) => [name, offset, bytes, shape])).toEqual([
      ['x.experts.w[0]', 100, 24, [3, 4]],
      ['x.experts.w[1]', 124, 24, [3, 4]],
    ]);
    expect(byName.has('x.experts.w')).toBe(false);
    expect(targetTensors(index, [target('x.experts.w')])).toBe(index);
  });

  it('are targets of outputs by inputs where experts are stored the other way round, as their shapes tell', () => {
    const experts = (gateUp: number[], down: number[]): FormatSource =>
      formatSource([
        bf16('layers.0.mlp.experts.gate_up_proj', ...gateUp),
        bf16('layers.0.mlp.experts.down_proj', ...down),
      ]);
    const turned = experts([2, 4, 6], [2, 3, 4]);
    const targets = selectTargets(logicalTensors(turned));
    expect(targets.map(({ name, shape }) => [name, shape])).toEqual([
      ['layers.0.mlp.experts.down_proj[0]', [4, 3]],
      ['layers.0.mlp.experts.down_proj[1]', [4, 3]],
      ['layers.0.mlp.experts.gate_up_proj[0]', [6, 4]],
      ['layers.0.mlp.experts.gate_up_proj[1]', [6, 4]],
    ]);
    const whole = { ...index, ...turned };
    const view = targetTensors(whole, targets);
    expect(tensorSource(view.byName.get('layers.0.mlp.experts.down_proj[1]')!)).toMatchObject({
      ...{ rows: 4, cols: 3, transposed: true },
    });
    expect(elementTensor(view.byName.get('layers.0.mlp.experts.down_proj[1]')!).shape).toEqual([3, 4]);
    const usual = logicalTensors(experts([2, 6, 4], [2, 4, 3]));
    expect(selectTargets(usual).map(({ shape }) => shape.join())).toEqual(['4,3', '4,3', '6,4', '6,4']);
  });

  it('are joined when all are there and alike', () => {
    const slices = slicesOf(place);
    const other = bf16('z', 5);
    expect(joinSlices([slices[1]!, other, slices[0]!])).toMatchObject({
      specs: [other, { name: 'x.experts.w', dtype: 'BF16', shape: [2, 3, 4] }],
      joined: new Set(['x.experts.w']),
    });
    for (const apart of [[slices[1]!], [slices[0]!, { ...slices[1]!, shape: [4, 3] }], [...slices, place]])
      expect(joinSlices(apart)).toMatchObject({ specs: apart, joined: new Set() });
  });
});
