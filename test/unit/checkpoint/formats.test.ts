import { describe, expect, it } from 'vitest';
import { dtypeBits } from '../../../extension/core/dtypes';
import { numericDescriptor } from '../../../extension/core/checkpoint/formats/descriptors';
import { adapterSummary } from '../../../extension/core/logical/formats/lora';
import type { FormatSource } from '../../../extension/core/logical/formats/recogniser';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { serializeHeader, type TensorSpec } from '../../../extension/core/checkpoint/serialize';
import {
  describeShard,
  matrixParts,
  shardMetadata,
  type MatrixDescription,
} from '../../../extension/core/packed/format';
import { paperOption } from '../../../extension/core/options/config';
import { packedBytes } from '../../../extension/core/options/option';
import type { Option } from '../../../extension/core/options/types';
import type { LogicalTensor } from '../../../extension/core/checkpoint/types';
import type { Dtype } from '../../../extension/core/dtypes';
import { bf16, f32 } from './containers';
import { formatSource } from './families';
import { MemoryFiles } from './memory-files';

const P = 'model.layers.0.self_attn.q_proj';
const of = (dtype: Dtype, name: string, ...shape: number[]): TensorSpec => ({ name, dtype, shape });

/** The logical weights of a checkpoint; each stored tensor must be in exactly one of them. */
function logical(specs: readonly TensorSpec[], more: Partial<FormatSource> = {}): LogicalTensor[] {
  const source = formatSource(specs, more);
  const tensors = logicalTensors(source);
  const parts = tensors.flatMap(tensor => tensor.parts);
  expect([...parts].sort()).toHaveLength(source.tensors.length);
  expect(new Set(parts)).toEqual(new Set(source.tensors));
  expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
  return tensors;
}

/** The one packed weight among them. */
function packed(specs: readonly TensorSpec[], more?: Partial<FormatSource>): LogicalTensor {
  const found = logical(specs, more).filter(({ format }) => format !== 'dense');
  expect(found).toHaveLength(1);
  return found[0]!;
}

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe('GPTQ', () => {
  const gptq = (bits: number, out = 64, inputs = 256, group = 128): TensorSpec[] => [
    of('I32', `${P}.qweight`, (inputs * bits) / 32, out),
    of('I32', `${P}.qzeros`, inputs / group, (out * bits) / 32),
    of('F16', `${P}.scales`, inputs / group, out),
    of('I32', `${P}.g_idx`, inputs),
    of('F16', `${P}.bias`, out),
  ];

  it.each([2, 3, 4, 8])('%i bits', bits => {
    const weight = packed(gptq(bits));
    expect(weight).toMatchObject({
      name: `${P}.weight`,
      shape: [64, 256],
      format: 'gptq',
      dtype: `INT${bits} g128`,
      role: 'q',
      layer: 0,
      parameters: 64 * 256,
    });
    const bytes = (64 * 256 * bits) / 8 + (2 * 64 * bits) / 8 + 2 * 64 * 2 + 256 * 4;
    expect([weight.bytes, weight.bitsPerWeight]).toEqual([bytes, (8 * bytes) / (64 * 256)]);
  });

  it('mixes bits, does without zeros or g_idx, and leaves the bias dense', () => {
    const symmetric = gptq(4).filter(({ name }) => !name.endsWith('qzeros'));
    expect(packed(symmetric).dtype).toBe('INT4 g128');
    const bare = symmetric.filter(({ name }) => !name.endsWith('g_idx'));
    expect(packed(bare, { config: { quantization_config: { bits: 4 } } }).shape).toEqual([64, 256]);
    expect(logical(bare).every(({ format }) => format === 'dense')).toBe(true);
    expect(logical(gptq(3)).find(({ name }) => name.endsWith('bias'))!.format).toBe('dense');
  });
});

it('AWQ packs along the outputs', () => {
  const weight = packed([
    of('I32', `${P}.qweight`, 256, 64 / 8),
    of('I32', `${P}.qzeros`, 2, 64 / 8),
    of('F16', `${P}.scales`, 2, 64),
  ]);
  expect(weight).toMatchObject({ shape: [64, 256], dtype: 'INT4 g128', format: 'awq', parameters: 64 * 256 });
  expect(weight.bitsPerWeight).toBe(4 + (16 + 4) / 128);
});

describe('bitsandbytes', () => {
  const state = `${P}.weight.quant_state.bitsandbytes__nf4`;
  const nf4 = [
    of('U8', `${P}.weight`, 32, 1),
    f32(`${P}.weight.absmax`, 1),
    f32(`${P}.weight.quant_map`, 16),
    of('U8', state, 90),
  ];
  const described = (value: unknown) => ({ descriptors: new Map([[state, json(value)]]) });

  it('NF4 takes its shape from quant_state', () => {
    expect(packed(nf4, described({ quant_type: 'nf4', blocksize: 64, shape: [4, 16] }))).toMatchObject({
      name: `${P}.weight`,
      shape: [4, 16],
      dtype: 'NF4 g64',
      parameters: 64,
      bytes: 32 + 4 + 64 + 90,
    });
    expect(packed(nf4, described({ shape: [7, 9] })).shape).toEqual([7, 9]);
  });

  it('does not believe a shape that does not fit', () => {
    for (const shape of [[4, 4], [4, -16], [4.5, 2], 'x', null, [1e9, 1e9]]) {
      expect(packed(nf4, described({ shape })).shape).toEqual([64]);
    }
    expect(packed(nf4).parameters).toBe(64);
    expect(packed(nf4, { descriptors: new Map([[state, new Uint8Array([0xff])]]) }).parameters).toBe(64);
  });

  it('nested scales and 8 bits', () => {
    const nested = [...nf4, f32(`${P}.weight.nested_absmax`, 1), f32(`${P}.weight.nested_quant_map`, 256)];
    expect(packed(nested).dtype).toBe('NF4 nested');
    const int8 = [of('I8', `${P}.weight`, 4, 16), f32(`${P}.SCB`, 4), of('U8', `${P}.weight_format`)];
    expect(packed(int8)).toMatchObject({ shape: [4, 16], dtype: 'INT8', parameters: 64, bytes: 64 + 16 + 1 });
  });

  it('quant_state is read from the file when a checkpoint is opened', async () => {
    const text = json({ quant_type: 'nf4', blocksize: 64, dtype: 'bfloat16', shape: [4, 16] });
    const specs = nf4.map(spec => (spec.name === state ? { ...spec, shape: [text.length] } : spec));
    const header = serializeHeader(specs);
    const file = new Uint8Array(header.fileBytes);
    file.set(header.bytes);
    file.set(text, header.tensors.find(({ name }) => name === state)!.offset);
    const index = await openCheckpoint(new MemoryFiles({ '/m/model.safetensors': file }), '/m');
    expect(index.parameters).toBe(64);
    expect(logicalTensors(index)[0]!.shape).toEqual([4, 16]);
  });
});

describe('compressed-tensors', () => {
  const pack = (bits: number, inputs: number): TensorSpec[] => [
    of('I32', `${P}.weight_packed`, 8, Math.ceil((inputs * bits) / 32)),
    bf16(`${P}.weight_scale`, 8, inputs / 32),
    of('I64', `${P}.weight_shape`, 2),
  ];
  const shapeOf = (out: number, inputs: number) => {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setBigInt64(0, BigInt(out), true);
    new DataView(bytes.buffer).setBigInt64(8, BigInt(inputs), true);
    return new Map([[`${P}.weight_shape`, bytes]]);
  };
  const config = (bits: number) => ({
    config: {
      quantization_config: { config_groups: { group_0: { weights: { num_bits: bits, group_size: 32 } } } },
    },
  });

  it.each([3, 4, 8])('packed INT%i, by weight_shape, by the configuration', bits => {
    const expected = { shape: [8, 96], dtype: `INT${bits} g32`, format: 'compressed-tensors', parameters: 768 };
    expect(packed(pack(bits, 96), { descriptors: shapeOf(8, 96) })).toMatchObject(expected);
    expect(packed(pack(bits, 96), config(bits))).toMatchObject(expected);
  });

  it('stays dense parts when nothing says the bits, and ignores an absurd weight_shape', () => {
    expect(logical(pack(4, 96)).every(({ format }) => format === 'dense')).toBe(true);
    expect(packed(pack(4, 96), { ...config(4), descriptors: shapeOf(8, -1) }).shape).toEqual([8, 96]);
    expect(packed(pack(4, 96), { ...config(4), descriptors: shapeOf(9, 96) }).shape).toEqual([8, 96]);
  });

  it('NVFP4, FP8 and INT8', () => {
    const nvfp4 = [
      of('U8', `${P}.weight_packed`, 8, 16),
      of('F8_E4M3', `${P}.weight_scale`, 8, 2),
      f32(`${P}.weight_global_scale`, 1),
      f32(`${P}.input_global_scale`, 1),
    ];
    expect(packed(nvfp4)).toMatchObject({ shape: [8, 32], dtype: 'NVFP4 g16', parameters: 256, bytes: 128 + 16 + 8 });
    const fp8 = [of('F8_E4M3', `${P}.weight`, 8, 32), f32(`${P}.weight_scale`, 8, 1), f32(`${P}.input_scale`, 1)];
    expect(packed(fp8)).toMatchObject({ dtype: 'F8_E4M3', format: 'fp8', bytes: 256 + 32 + 4 });
    const said = { config: { quantization_config: { quant_method: 'compressed-tensors' } } };
    expect(packed(fp8, said).format).toBe('compressed-tensors');
    const int8 = [of('I8', `${P}.weight`, 8, 32), f32(`${P}.weight_scale`, 8, 2)];
    expect(packed(int8)).toMatchObject({ dtype: 'INT8 g16', format: 'compressed-tensors' });
  });
});

it('MXFP4 keeps the experts and counts 4.25 bits', () => {
  const X = 'model.layers.0.mlp.experts.gate_up_proj';
  const weight = packed([
    of('U8', `${X}_blocks`, 4, 6, 3, 16),
    of('U8', `${X}_scales`, 4, 6, 3),
    bf16(`${X}_bias`, 4, 6),
  ]);
  expect(weight).toMatchObject({
    name: X,
    shape: [4, 6, 96],
    dtype: 'MXFP4 g32',
    role: 'gate_up',
    bitsPerWeight: 4.25,
  });
});

it('FP8 with inverse scales shows its blocks', () => {
  const weight = packed([of('F8_E4M3', `${P}.weight`, 576, 300), f32(`${P}.weight_scale_inv`, 5, 3)]);
  expect(weight).toMatchObject({ shape: [576, 300], dtype: 'F8_E4M3 128×128', format: 'fp8' });
  expect(weight.bytes).toBe(576 * 300 + 60);
});

describe('LoRA', () => {
  const pair = (module: string, rank: number): TensorSpec[] => [
    f32(`base_model.model.${module}.lora_A.weight`, rank, 16),
    f32(`base_model.model.${module}.lora_B.weight`, 24, rank),
  ];

  it('shows the update of a pair under the name of what it updates, with its own parameters', () => {
    const weight = packed(pair(P, 4), { adapterConfig: { r: 4, lora_alpha: 8 } });
    expect(weight).toMatchObject({
      name: `${P}.weight`,
      shape: [24, 16],
      dtype: 'LoRA r4 α8',
      format: 'lora',
      role: 'q',
      parameters: 4 * (16 + 24),
      bitsPerWeight: 32,
    });
  });

  it('finds alpha in the pattern, the metadata, or a tensor', () => {
    const dtype = (more?: Partial<FormatSource>, specs = pair(P, 4)) => packed(specs, more).dtype;
    expect(dtype()).toBe('LoRA r4');
    expect(dtype({ adapterConfig: { lora_alpha: 8, alpha_pattern: { q_proj: 32, '(a+)+$': 1 } } })).toBe('LoRA r4 α32');
    const shard = { file: '/m/a', bytes: 0, headerBytes: 0, tensors: 0 };
    expect(dtype({ shards: [{ ...shard, metadata: { lora_alpha: '16' } }] })).toBe('LoRA r4 α16');
    const nested = { lora_adapter_metadata: '{"lora_alpha":64}' };
    expect(dtype({ shards: [{ ...shard, metadata: nested }] })).toBe('LoRA r4 α64');
    const kohya = [f32('u.lora_down.weight', 4, 16), f32('u.lora_up.weight', 24, 4), of('BF16', 'u.alpha')];
    const alpha = new Map([['u.alpha', new Uint8Array([0x80, 0x3f])]]);
    expect(dtype({ descriptors: alpha }, kohya)).toBe('LoRA r4 α1');
  });

  it('takes named adapters, embeddings and convolutions', () => {
    const specs = [
      f32('m.lora_A.default.weight', 4, 16),
      f32('m.lora_B.default.weight', 24, 4),
      f32('e.lora_embedding_A', 4, 100),
      f32('e.lora_embedding_B', 16, 4),
      f32('c.lora_A.weight', 4, 3, 5, 5),
      f32('c.lora_B.weight', 8, 4, 1, 1),
    ];
    expect(logical(specs).map(({ name, shape, format }) => [name, shape.join('x'), format])).toEqual([
      ['c.weight', '8x3x5x5', 'lora'],
      ['e.weight', '100x16', 'lora'],
      ['m.default.weight', '24x16', 'lora'],
    ]);
  });

  it('leaves factors that do not fit, or are alone, as they are', () => {
    expect(logical([f32('m.lora_A.weight', 4, 16)])[0]!.format).toBe('dense');
    expect(logical([f32('m.lora_A.weight', 4, 16), f32('m.lora_B.weight', 24, 5)])[0]!.format).toBe('dense');
  });

  it('is summed up by rank, alpha and targets', () => {
    const source = formatSource([...pair(P, 4), ...pair('model.layers.0.mlp.up_proj', 8)], {
      adapterConfig: { lora_alpha: 16, base_model_name_or_path: 'base' },
    });
    const expected = { rank: [4, 8], alpha: 16, targets: ['q_proj', 'up_proj'], baseModel: 'base' };
    expect(adapterSummary(source, logicalTensors(source))).toEqual(expected);
    expect(adapterSummary(formatSource([]), [])).toBeUndefined();
  });
});

it('a packed weight beside a dense tensor of its name hides neither', () => {
  const specs = [
    of('I32', `${P}.qweight`, 32, 64),
    of('F16', `${P}.scales`, 2, 64),
    of('I32', `${P}.g_idx`, 256),
    bf16(`${P}.weight`, 64, 256),
  ];
  expect(logical(specs).every(({ format }) => format === 'dense')).toBe(true);
});

it('decodes the numbers of descriptors', () => {
  expect(numericDescriptor(new Uint8Array([0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0xff, 0x7b]), 'F16')).toEqual([
    1,
    -2,
    2 ** -24,
    65504,
  ]);
  expect(numericDescriptor(new Uint8Array([0x80, 0xbf]), 'BF16')).toEqual([-1]);
  expect(numericDescriptor(new Uint8Array(2), 'U8')).toBeUndefined();
  expect(dtypeBits('F6_E2M3')).toBe(6);
});

describe('packed LQ', () => {
  const option = (rank: number): Option => paperOption({ b0: 3, b1: 8, b2: 'fp32', B0: 64, B1: 256 }, rank);
  const matrix = (rank: number): MatrixDescription => ({ dtype: 'BF16', shape: [24, 40], option: option(rank) });

  async function opened(metadata: (packed: Record<string, string>) => Record<string, string>, rank = 4) {
    const name = `${P}.weight`;
    const specs = [...matrixParts(name, matrix(rank), 'nf8'), bf16('model.norm.weight', 24)];
    const header = serializeHeader(
      specs,
      metadata(shardMetadata(describeShard(new Map([[name, matrix(rank)]]), 'nf8', 0))),
    );
    const file = new Uint8Array(header.fileBytes);
    file.set(header.bytes);
    return openCheckpoint(new MemoryFiles({ '/m/model.safetensors': file }), '/m');
  }

  it.each([
    [4, 'NF3 g64 r4', 12],
    [0, 'NF3 g64', 4],
  ])('rank %i is one weight with the bits of all its parts', async (rank, dtype, parts) => {
    const index = await opened(metadata => metadata, rank);
    expect(index.problems).toEqual([]);
    expect(index.parameters).toBe(24 * 40 + 24);
    const [weight, norm, ...more] = logicalTensors(index);
    expect([norm!.format, more]).toEqual(['dense', []]);
    expect(weight).toMatchObject({ name: `${P}.weight`, shape: [24, 40], dtype, format: 'lq', role: 'q' });
    expect(weight!.parts).toHaveLength(parts);
    expect(weight!.bytes).toBe(packedBytes(option(rank), 24, 40, 'nf8'));
    expect(weight!.bitsPerWeight).toBe((8 * weight!.bytes) / 960);
  });

  it('a damaged description is a problem, and the parts are shown', async () => {
    const index = await opened(({ format }) => ({ format: format!, lq_studio: '{}' }));
    expect(index.problems).toMatchObject([{ severity: 'error', code: 'packed-format', file: '/m/model.safetensors' }]);
    expect(logicalTensors(index).map(({ format }) => format)).toEqual(Array<string>(13).fill('dense'));
  });
});
