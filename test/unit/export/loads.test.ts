/** Which programs load a folder, by what its headers say. The rules are facts of named versions; see the programs' own tests in interop. */
import { describe, expect, it } from 'vitest';
import type { TensorSpec } from '../../../extension/core/checkpoint/serialize';
import { loads, type Verdict } from '../../../extension/core/export/loads/loads';
import { storedModel } from '../../../extension/core/export/loads/stored';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { MemoryFiles } from '../checkpoint/memory-files';
import { bf16, validFile } from '../checkpoint/containers';
import { ggufFile } from '../gguf/fixtures';

const BLOCK = 'model.layers.0.self_attn';

/** A Linear of pack-quantized. */
const packed = (module: string, bits: number, more: readonly TensorSpec[] = []): TensorSpec[] => [
  { name: `${module}.weight_packed`, dtype: 'I32', shape: [64, (128 * bits) / 32] },
  { name: `${module}.weight_scale`, dtype: 'BF16', shape: [64, 2] },
  ...more,
];

const integers = (module: string, bits: number, group: number): TensorSpec[] => [
  { name: `${module}.weight`, dtype: 'U32', shape: [64, (256 * bits) / 32] },
  { name: `${module}.scales`, dtype: 'BF16', shape: [64, 256 / group] },
  { name: `${module}.biases`, dtype: 'BF16', shape: [64, 256 / group] },
];

async function judge(
  tensors: readonly TensorSpec[],
  config: Record<string, unknown> = {},
): Promise<Record<string, Verdict>> {
  const files = new MemoryFiles({
    '/m/model.safetensors': validFile(tensors),
    '/m/config.json': JSON.stringify({ model_type: 'llama', ...config }),
  });
  return byProgram(loads(storedModel(await openCheckpoint(files, '/m'))));
}

const byProgram = (verdicts: readonly Verdict[]): Record<string, Verdict> =>
  Object.fromEntries(verdicts.map(verdict => [verdict.program.split(' ')[0]!, verdict]));

const answers = (verdicts: Record<string, Verdict>): Record<string, string> =>
  Object.fromEntries(Object.entries(verdicts).map(([program, { loads: answer }]) => [program, answer]));

const compressed = (groups: Record<string, number>): Record<string, unknown> => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    config_groups: Object.fromEntries(
      Object.entries(groups).map(([module, bits], i) => [
        `group_${i}`,
        { targets: [module], weights: { num_bits: bits, group_size: 64, type: 'int', symmetric: true } },
      ]),
    ),
  },
});

describe('a dense folder', () => {
  it('loads where its architecture is known, and llama.cpp says what it needs instead', async () => {
    const found = await judge([bf16('model.embed_tokens.weight', 8, 4)]);
    expect(answers(found)).toEqual({
      'llama.cpp': 'no',
      transformers: 'yes',
      vLLM: 'yes',
      'mlx-lm': 'yes',
      LQ: 'yes',
    });
    expect(found['llama.cpp']!.why).toEqual(['it reads GGUF alone: export it as GGUF']);
  });

  it('of an architecture that no list has is not called loadable', async () => {
    const found = await judge([bf16('model.embed_tokens.weight', 8, 4)], { model_type: 'brand_new' });
    expect([found['transformers']!.loads, found['vLLM']!.loads]).toEqual(['unknown', 'unknown']);
    expect(found['vLLM']!.why[0]).toContain('architecture brand_new');
  });
});

describe('compressed-tensors', () => {
  const all = ['q_proj', 'k_proj', 'v_proj'].map(name => `${BLOCK}.${name}`);

  it('of equal widths in fused modules loads in transformers and vLLM', async () => {
    const config = compressed(Object.fromEntries(all.map(module => [module, 3])));
    const found = await judge(
      all.flatMap(module => packed(module, 3)),
      config,
    );
    expect(answers(found)).toMatchObject({ transformers: 'yes', vLLM: 'yes', 'llama.cpp': 'no', LQ: 'yes' });
  });

  it('that mixes widths in fused modules loads in transformers and not in vLLM, which says where', async () => {
    const bits = new Map(all.map((module, i) => [module, i === 1 ? 8 : 4]));
    const found = await judge(
      all.flatMap(module => packed(module, bits.get(module)!)),
      compressed(Object.fromEntries(bits)),
    );
    expect(answers(found)).toMatchObject({ transformers: 'yes', vLLM: 'no' });
    expect(found['vLLM']!.why[0]).toContain(`${BLOCK}.k_proj.weight is INT8`);
  });

  it('that leaves one of the fused modules dense does not load in vLLM', async () => {
    const [q, k, v] = all as [string, string, string];
    const found = await judge(
      [...packed(q, 4), ...packed(k, 4), bf16(`${v}.weight`, 64, 128)],
      compressed({ [q]: 4, [k]: 4 }),
    );
    expect(found['vLLM']).toMatchObject({ loads: 'no' });
  });

  it('with zero points does not load in transformers', async () => {
    const zeros: TensorSpec = { name: `${BLOCK}.o_proj.weight_zero_point`, dtype: 'I32', shape: [8, 2] };
    const found = await judge(packed(`${BLOCK}.o_proj`, 4, [zeros]), compressed({ [`${BLOCK}.o_proj`]: 4 }));
    expect(answers(found)).toMatchObject({ transformers: 'no', LQ: 'no' });
  });
});

describe('MLX', () => {
  it.each([
    [3, 64, 'yes'],
    [4, 16, 'no'],
  ])('of %i bits in groups of %i: %s', async (bits, group, answer) => {
    const module = `${BLOCK}.o_proj`;
    const quantization = { group_size: group, bits, mode: 'affine', [module]: { group_size: group, bits } };
    const found = await judge(integers(module, bits, group), { quantization });
    expect(found['mlx-lm']!.loads).toBe(answer);
    expect(found['vLLM']!.loads).toBe('no');
  });
});

describe('GGUF', () => {
  const gguf = async (architecture: string): Promise<Record<string, Verdict>> => {
    const files = new MemoryFiles({
      '/m/a.gguf': ggufFile({
        'general.architecture': { type: 'string', value: architecture },
        'tokenizer.ggml.tokens': { type: 'strings', value: ['a'] },
      }),
    });
    return byProgram(loads(storedModel(await openCheckpoint(files, '/m/a.gguf'))));
  };

  it('loads in llama.cpp where it knows the architecture, and never in vLLM', async () => {
    expect(answers(await gguf('llama'))).toMatchObject({ 'llama.cpp': 'yes', transformers: 'yes', vLLM: 'no' });
    expect(answers(await gguf('olmo2'))).toMatchObject({ 'llama.cpp': 'yes', transformers: 'no' });
    expect(answers(await gguf('brand_new'))).toMatchObject({ 'llama.cpp': 'no', transformers: 'no' });
  });
});
