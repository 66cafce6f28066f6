/** Adapters are joined to the updates they are, or named after their method. Tensors are named as the tools' own sources name them. */
import { describe, expect, it } from 'vitest';
import { elementCount } from '../../../extension/core/dtypes';
import type { FormatSource } from '../../../extension/core/logical/formats/recogniser';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { unknownAdapter } from '../../../extension/core/logical/unknown';
import type { TensorSpec } from '../../../extension/core/checkpoint/serialize';
import { formatSource } from './families';
import { IN, OUT, P, whole } from './layout-cases';

describe('an adapter', () => {
  const f16 = (name: string, ...shape: number[]): TensorSpec => ({ name, dtype: 'F16', shape });
  const config = (adapterConfig: object): Partial<FormatSource> => ({ adapterConfig: adapterConfig as never });
  const M = `base_model.model.${P}`;

  it.each([
    ['AdaLoRA', 'AdaLoRA r8', [f16(`${M}.lora_A`, 8, IN), f16(`${M}.lora_B`, OUT, 8), f16(`${M}.lora_E`, 8, 1)]],
    [
      'DoRA of PEFT',
      'DoRA r8',
      [f16(`${M}.lora_A.weight`, 8, IN), f16(`${M}.lora_B.weight`, OUT, 8), f16(`${M}.lora_magnitude_vector`, OUT)],
    ],
    [
      'DoRA of kohya',
      'DoRA r8',
      [f16(`${P}.lora_down.weight`, 8, IN), f16(`${P}.lora_up.weight`, OUT, 8), f16(`${P}.dora_scale`, OUT, 1)],
    ],
    ['MLX', 'LoRA r8', [f16(`${P}.lora_a`, IN, 8), f16(`${P}.lora_b`, 8, OUT)]],
    ['diffusers', 'LoRA r8', [f16(`${P}.lora.down.weight`, 8, IN), f16(`${P}.lora.up.weight`, OUT, 8)]],
    [
      'diffusers, of an attention processor',
      'LoRA r8',
      [f16(`${P}_lora.down.weight`, 8, IN), f16(`${P}_lora.up.weight`, OUT, 8)],
    ],
    [
      'LoHa',
      'LoHa r4',
      [
        f16(`${P}.hada_w1_a`, OUT, 4),
        f16(`${P}.hada_w1_b`, 4, IN),
        f16(`${P}.hada_w2_a`, OUT, 4),
        f16(`${P}.hada_w2_b`, 4, IN),
      ],
    ],
    ['LoKr', 'LoKr r4', [f16(`${P}.lokr_w1`, 8, 16), f16(`${P}.lokr_w2_a`, 16, 4), f16(`${P}.lokr_w2_b`, 4, 16)]],
  ] as const)('of %s is joined to the update of its weight', (_, dtype, stored) => {
    const weight = whole(stored);
    expect(weight).toMatchObject({ name: `${P}.weight`, shape: [OUT, IN], dtype, format: 'lora' });
    expect(weight.parameters).toBe(stored.reduce((sum, { shape }) => sum + elementCount(shape), 0));
    expect(weight.bitsPerWeight).toBe(16);
  });

  it.each([
    ['IA3', `${M}.ia3_l`, [1, IN], `${P}.ia3_l`],
    ['OFT', `${M}.oft_R.weight`, [8, 496], `${P}.oft_R`],
    ['OFT', `${P}.oft_blocks`, [8, 32, 32], `${P}.oft_blocks`],
    ['BOFT', `${M}.boft_R`, [2, 8, 8, 8], `${P}.boft_R`],
    ['MiSS', `${M}.miss_block`, [64, OUT], `${P}.miss_block`],
  ] as const)('of %s is named after its method', (dtype, name, shape, logical) => {
    expect(whole([f16(name, ...shape)])).toMatchObject({ name: logical, dtype, format: 'lora' });
  });

  it('of VeRA has the shape that the shared projections give', () => {
    const source = formatSource([
      f16(`${M}.vera_lambda_b`, OUT),
      f16(`${M}.vera_lambda_d`, 64),
      f16('base_model.vera_A', 64, IN),
      f16('base_model.vera_B', OUT, 64),
    ]);
    const found = logicalTensors(source).find(({ name }) => name === `${P}.weight`);
    expect(found).toMatchObject({ shape: [OUT, IN], dtype: 'VeRA r64', parameters: OUT + 64 });
  });

  it('takes alpha and rank from the first pattern that fits, as PEFT reads them', () => {
    const pair = [f16(`${M}.lora_A.weight`, 8, IN), f16(`${M}.lora_B.weight`, OUT, 8)];
    const alpha = (pattern: object): string => whole(pair, config({ lora_alpha: 16, alpha_pattern: pattern })).dtype;
    expect(alpha({ 'layers\\.[0-3]\\..*q_proj': 32 })).toBe('LoRA r8 α32');
    expect(alpha({ 'layers\\.[4-9]\\..*q_proj': 32 })).toBe('LoRA r8 α16');
    expect(alpha({ k_proj: 4, '.*attn.*': 64, q_proj: 2 })).toBe('LoRA r8 α64');
    expect(alpha({ _proj: 4 })).toBe('LoRA r8 α16');
    // An expression that would take for ever elsewhere, and one that cannot be used.
    expect(alpha({ '(([a-z_.0-9])+)+!': 4, 'q(?=_proj)_proj': 8 })).toBe('LoRA r8 α16');
  });

  it('of an embedding and of stacked experts has their shape', () => {
    const embedding = [
      f16('model.embed_tokens.lora_embedding_A', 8, 1000),
      f16('model.embed_tokens.lora_embedding_B', 64, 8),
    ];
    expect(whole(embedding)).toMatchObject({ shape: [1000, 64], dtype: 'LoRA r8', parameters: 8 * 1064 });
    const experts = [
      f16('model.layers.0.mlp.experts.lora_A.weight', 32, IN),
      f16('model.layers.0.mlp.experts.lora_B.weight', OUT, 32),
    ];
    const found = whole(experts, config({ r: 8, lora_alpha: 16, target_parameters: ['mlp.experts.gate_up_proj'] }));
    expect(found).toMatchObject({ shape: [4, OUT, IN], dtype: 'LoRA r8 in 4 experts α16', rank: 8 });
  });

  it('of MLX is scaled by the number in its configuration', () => {
    const pair = [f16(`${P}.lora_a`, IN, 8), f16(`${P}.lora_b`, 8, OUT)];
    expect(whole(pair, config({ lora_parameters: { rank: 8, scale: 20 } })).dtype).toBe('LoRA r8 ×20');
    const experts = [f16('e.switch_mlp.up_proj.lora_a', 4, 8, IN), f16('e.switch_mlp.up_proj.lora_b', 4, OUT, 8)];
    expect(whole(experts)).toMatchObject({ shape: [4, OUT, IN], dtype: 'LoRA r8' });
  });

  it('of a method that is not joined is told of by the name its configuration has', () => {
    const remark = (peft_type: string, stored: TensorSpec[], more: object = {}) => {
      const source = formatSource(stored, config({ peft_type, ...more }));
      return unknownAdapter(source, logicalTensors(source));
    };
    const delora = [f16(`${M}.delora_A`, 4, IN), f16(`${M}.delora_B`, OUT, 4)];
    expect(remark('DELORA', delora)).toMatchObject([
      { severity: 'information', code: 'adapter-method', message: expect.stringContaining('(DELORA)') as string },
    ]);
    const pair = [f16(`${M}.lora_A.weight`, 8, IN), f16(`${M}.lora_B.weight`, OUT, 8)];
    const beside = [
      f16('base_model.model.score.weight', 2, IN),
      f16('base_model.model.model.embed_tokens.base_layer.weight', 10, IN),
      f16('base_model.model.my_head.weight', 2, IN),
    ];
    expect(remark('LORA', [...pair, ...beside], { modules_to_save: ['my_head'] })).toEqual([]);
  });
});
