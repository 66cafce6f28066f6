/**
 * What quantisers write, by name, dtype and shape: the logical weight is 128 x 256 in each. Layouts are those of the tools' own
 * sources, named beside the formats.
 */
import { expect } from 'vitest';
import type { Dtype } from '../../../extension/core/dtypes';
import type { FormatSource } from '../../../extension/core/logical/formats/recogniser';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { unknownLayouts } from '../../../extension/core/logical/unknown';
import type { TensorSpec } from '../../../extension/core/checkpoint/serialize';
import type { LogicalTensor } from '../../../extension/core/checkpoint/types';
import { formatSource } from './families';

export const P = 'model.layers.0.self_attn.q_proj';
export const [OUT, IN] = [128, 256];
export type Part = readonly [suffix: string, dtype: Dtype, ...shape: number[]];

export const specs = (base: string, parts: readonly Part[]): TensorSpec[] =>
  parts.map(([suffix, dtype, ...shape]) => ({ name: base + suffix, dtype, shape }));
const quantized = (method: string, more: object = {}): Partial<FormatSource> => ({
  config: { quantization_config: { quant_method: method, ...more } },
});
const i64 = (...values: number[]): Uint8Array => new Uint8Array(BigInt64Array.from(values, BigInt).buffer);

/** The one weight that the parts make up; all of them must belong to it. */
export function whole(parts: readonly TensorSpec[], more: Partial<FormatSource> = {}): LogicalTensor {
  const source = formatSource(parts, more);
  const logical = logicalTensors(source);
  expect(logical.map(({ name }) => name)).toHaveLength(1);
  expect(logical[0]!.parts).toHaveLength(parts.length);
  expect(unknownLayouts(source, logical)).toEqual([]);
  return logical[0]!;
}

export interface Case {
  tool: string;
  dtype: string;
  parts: readonly Part[];
  more?: Partial<FormatSource>;
  base?: string;
  name?: string;
  shape?: number[];
}

const mlxParts = (bits: number, group: number, scales: Dtype = 'BF16'): Part[] => [
  ['.weight', 'U32', OUT, (IN * bits) / 32],
  ['.scales', scales, OUT, IN / group],
  ...(scales === 'U8' ? [] : ([['.biases', scales, OUT, IN / group]] as Part[])),
];
const mlxConfig = (bits: number, group: number, mode?: string): Partial<FormatSource> => ({
  config: { quantization: { bits, group_size: group, ...(mode !== undefined && { mode }) } },
});

export const cases: Case[] = [
  {
    tool: 'AWQ for vectors',
    dtype: 'INT4 g128',
    parts: [
      ['.qweight', 'I32', OUT, IN / 8],
      ['.qzeros', 'I32', OUT, 1],
      ['.scales', 'F16', OUT, 8],
    ],
    more: quantized('awq', { bits: 4, group_size: 128, version: 'gemv' }),
  },
  {
    tool: 'AWQ for vectors, fast',
    dtype: 'INT4 g64',
    parts: [
      ['.qweight', 'I16', OUT / 4, IN],
      ['.qzeros', 'F16', 8, OUT],
      ['.scales', 'F16', 8, OUT],
    ],
    more: quantized('awq', { bits: 4, group_size: 64, version: 'gemv_fast' }),
  },
  {
    tool: 'Marlin',
    dtype: 'INT4 g128',
    parts: [
      ['.B', 'I32', IN / 16, OUT * 2],
      ['.s', 'F16', 2, OUT],
      ['.workspace', 'I32', 16],
    ],
  },
  {
    tool: 'Marlin, 2:4 sparse, 8 bits',
    dtype: 'INT8 2:4',
    parts: [
      ['.B_24', 'I32', IN / 32, OUT * 4],
      ['.B_meta', 'I16', IN / 32, OUT * 2],
      ['.s', 'F16', 1, OUT],
    ],
  },
  {
    tool: 'compressed-tensors under text_config',
    dtype: 'INT4 g32',
    base: `language_model.${P}`,
    parts: [
      ['.weight_packed', 'I32', OUT, IN / 8],
      ['.weight_scale', 'BF16', OUT, IN / 32],
    ],
    more: {
      config: {
        text_config: {
          quantization_config: { config_groups: { group_0: { weights: { num_bits: 4, group_size: 32 } } } },
        },
      },
    },
  },
  {
    tool: 'compressed-tensors of several schemes',
    dtype: 'INT8 g64',
    parts: [
      ['.weight_packed', 'I32', OUT, IN / 4],
      ['.weight_scale', 'BF16', OUT, IN / 64],
    ],
    more: quantized('compressed-tensors', {
      config_groups: {
        group_0: { targets: ['Linear'], weights: { num_bits: 4, group_size: 128 } },
        group_1: { targets: ['re:.*layers\\.0\\..*q_proj'], weights: { num_bits: 8, group_size: 64 } },
      },
    }),
  },
  {
    tool: 'compressed-tensors of channels, by the name of the module',
    dtype: 'INT8',
    parts: [
      ['.weight_packed', 'I32', OUT, IN / 4],
      ['.weight_scale', 'BF16', OUT, 1],
    ],
    more: quantized('compressed-tensors', {
      config_groups: {
        a: { targets: ['Linear'], weights: { num_bits: 4 } },
        b: { targets: [P], weights: { num_bits: 8 } },
      },
    }),
  },
  {
    tool: 'compressed-tensors, 2:4 sparse',
    dtype: 'BF16 2:4',
    parts: [
      ['.compressed', 'BF16', OUT, IN / 2],
      ['.bitmask', 'U8', OUT, IN / 8],
      ['.shape', 'I64', 2],
    ],
  },
  {
    tool: 'compressed-tensors, marlin-24',
    dtype: 'INT4 g128 2:4',
    parts: [
      ['.weight_packed', 'I32', IN / 32, OUT * 2],
      ['.scale_packed', 'F16', 2, OUT],
      ['.meta', 'I16', IN / 32, OUT * 2],
    ],
  },
  {
    tool: 'compressed-tensors MXFP4',
    dtype: 'MXFP4 g32',
    parts: [
      ['.weight_packed', 'U8', OUT, IN / 2],
      ['.weight_scale', 'U8', OUT, IN / 32],
    ],
  },
  ...[2, 3, 4, 5, 6, 8].map((bits): Case => ({
    tool: `MLX of ${bits} bits`,
    dtype: `INT${bits} g32`,
    parts: mlxParts(bits, 32),
    more: mlxConfig(bits, 32),
  })),
  {
    tool: 'MLX with a module of its own',
    dtype: 'INT8 g64',
    parts: mlxParts(8, 64),
    more: { config: { quantization: { bits: 4, group_size: 128, [P]: { bits: 8, group_size: 64 } } } },
  },
  { tool: 'MLX without a configuration', dtype: 'INT4 g64', parts: mlxParts(4, 64) },
  { tool: 'MLX MXFP4', dtype: 'MXFP4 g32', parts: mlxParts(4, 32, 'U8'), more: mlxConfig(4, 32, 'mxfp4') },
  { tool: 'MLX NVFP4', dtype: 'NVFP4 g16', parts: mlxParts(4, 16, 'U8'), more: mlxConfig(4, 16, 'nvfp4') },
  {
    tool: 'ModelOpt NVFP4',
    dtype: 'NVFP4 g16',
    parts: [
      ['.weight', 'U8', OUT, IN / 2],
      ['.weight_scale', 'F8_E4M3', OUT, IN / 16],
      ['.weight_scale_2', 'F32'],
      ['.input_scale', 'F32'],
    ],
  },
  {
    tool: 'ComfyUI NVFP4, scales padded to tiles',
    dtype: 'NVFP4 g16',
    parts: [
      ['.weight', 'U8', OUT, IN / 2],
      ['.weight_scale', 'F8_E4M3', 256, 16],
      ['.weight_scale_2', 'F32'],
      ['.comfy_quant', 'U8', 19],
    ],
  },
  {
    tool: 'ModelOpt NVFP4 of stacked experts',
    dtype: 'NVFP4 g16',
    base: 'model.layers.0.mlp.experts.gate_up_proj',
    name: 'model.layers.0.mlp.experts.gate_up_proj',
    shape: [4, OUT, IN],
    parts: [
      ['', 'U8', 4, OUT, IN / 2],
      ['_weight_scale', 'F8_E4M3', 4, OUT, IN / 16],
      ['_weight_scale_2', 'F32', 4],
    ],
  },
  {
    tool: 'Quark MXFP4',
    dtype: 'MXFP4 g32',
    parts: [
      ['.weight', 'U8', OUT, IN / 2],
      ['.weight_scale', 'U8', OUT, IN / 32],
    ],
    more: quantized('quark'),
  },
  {
    tool: 'Quark INT4',
    dtype: 'INT4 g128',
    parts: [
      ['.weight', 'I32', IN, OUT / 8],
      ['.weight_scale', 'F16', 2, OUT],
      ['.weight_zero_point', 'I32', 2, OUT / 8],
    ],
    more: quantized('quark'),
  },
  {
    tool: 'float4 of torch with exponents',
    dtype: 'MXFP4 g32',
    parts: [
      ['.weight', 'F4', OUT, IN],
      ['.scale', 'F8_E8M0', OUT, IN / 32],
    ],
  },
  {
    tool: 'ComfyUI FP8',
    dtype: 'F8_E4M3',
    parts: [
      ['.weight', 'F8_E4M3', OUT, IN],
      ['.scale_weight', 'F32'],
      ['.scale_input', 'F32'],
    ],
  },
  {
    tool: 'FP8 of stacked experts in blocks',
    dtype: 'F8_E4M3 64×128',
    base: 'model.layers.0.mlp.experts.down_proj',
    name: 'model.layers.0.mlp.experts.down_proj',
    shape: [4, OUT, IN],
    parts: [
      ['', 'F8_E4M3', 4, OUT, IN],
      ['_scale_inv', 'F32', 4, 2, 2],
    ],
  },
  {
    tool: 'FP8 of stacked experts, a scale a channel',
    dtype: 'F8_E4M3',
    base: 'model.layers.0.mlp.experts.down_proj',
    name: 'model.layers.0.mlp.experts.down_proj',
    shape: [4, OUT, IN],
    parts: [
      ['', 'F8_E4M3', 4, OUT, IN],
      ['_scale', 'BF16', 4, 1, IN],
    ],
  },
  {
    tool: 'MXFP8',
    dtype: 'MXFP8 g32',
    parts: [
      ['.weight', 'F8_E4M3', OUT, IN],
      ['.weight_scale', 'U8', OUT, IN / 32],
    ],
  },
  {
    tool: 'EXL2',
    dtype: 'EXL2 4.50',
    parts: [
      ['.q_weight', 'I32', (IN * 4.5) / 32, OUT],
      ['.q_scale', 'I32', 2, OUT / 8],
      ['.q_scale_max', 'F16', 2],
      ['.q_groups', 'I16', 4],
      ['.q_invperm', 'I16', IN],
    ],
  },
  {
    tool: 'EXL3',
    dtype: 'EXL3 K3',
    parts: [
      ['.trellis', 'I16', IN / 16, OUT / 16, 48],
      ['.suh', 'F16', IN],
      ['.svh', 'F16', OUT],
      ['.mcg', 'I32'],
    ],
  },
  {
    tool: 'HQQ',
    dtype: 'INT4 g64',
    parts: [
      ['.W_q', 'U8', (OUT * IN) / 64 / 2, 64],
      ['.scale', 'F16', (OUT * IN) / 64, 1],
      ['.zero', 'F16', (OUT * IN) / 64, 1],
      ['.nbits', 'I64'],
      ['.group_size', 'I64'],
      ['.shape', 'I64', 2],
      ['.axis', 'I64'],
    ],
    more: {
      descriptors: new Map([
        [`${P}.shape`, i64(OUT, IN)],
        [`${P}.nbits`, i64(4)],
        [`${P}.group_size`, i64(64)],
      ]),
    },
  },
  {
    tool: 'HQQ of 3 bits, ten codes a word',
    dtype: 'INT3 g64',
    parts: [
      ['.W_q', 'I32', 52, 64],
      ['.scale', 'F16', 512, 1],
      ['.zero', 'F16', 512, 1],
      ['.shape', 'I64', 2],
      ['.group_size', 'I64'],
    ],
    more: {
      descriptors: new Map([
        [`${P}.shape`, i64(OUT, IN)],
        [`${P}.group_size`, i64(64)],
      ]),
    },
  },
  {
    tool: 'quanto INT8',
    dtype: 'INT8',
    parts: [
      ['.weight._data', 'I8', OUT, IN],
      ['.weight._scale', 'BF16', OUT, 1],
      ['.input_scale', 'F32'],
      ['.output_scale', 'F32'],
    ],
  },
  {
    tool: 'AQLM',
    dtype: 'AQLM 2x8 g8',
    parts: [
      ['.codes', 'I8', OUT, IN / 8, 2],
      ['.codebooks', 'F16', 2, 256, 1, 8],
      ['.scales', 'F16', OUT, 1, 1, 1],
    ],
  },
  {
    tool: 'VPTQ',
    dtype: 'VPTQ',
    parts: [
      ['.indices', 'I32', 1, OUT / 8, IN / 4],
      ['.centroids.weight', 'F16', 1, 65536 * 8],
      ['.weight_scale', 'F16', IN],
      ['.weight_bias', 'F16', IN],
    ],
    more: quantized('vptq', { config_for_layers: { [P]: { in_features: IN, out_features: OUT } } }),
  },
  {
    tool: 'QuIP#',
    dtype: 'QuIP',
    parts: [
      ['.Qidxs', 'I16', OUT, IN / 8],
      ['.SU', 'F16', IN],
      ['.SV', 'F16', OUT],
      ['.Wscale', 'F32'],
    ],
  },
  {
    tool: 'BitNet',
    dtype: 'ternary',
    parts: [
      ['.weight', 'U8', OUT / 4, IN],
      ['.weight_scale', 'BF16', 1],
    ],
    more: quantized('bitnet'),
  },
  {
    tool: 'EETQ',
    dtype: 'INT8',
    parts: [
      ['.qweight', 'I8', IN, OUT],
      ['.weight_scales', 'F16', OUT],
    ],
  },
  {
    tool: 'torchao INT4',
    dtype: 'INT4',
    base: 'model.layers.0.self_attn.q_proj._weight',
    name: `${P}.weight`,
    parts: [
      ['_qdata', 'U8', OUT, IN / 2],
      ['_scale', 'BF16', IN / 128, OUT],
      ['_zero_point', 'BF16', IN / 128, OUT],
    ],
  },
  {
    tool: 'torchao FP8',
    dtype: 'F8_E4M3',
    base: 'model.layers.0.self_attn.q_proj._weight',
    name: `${P}.weight`,
    parts: [
      ['_qdata', 'F8_E4M3', OUT, IN],
      ['_scale', 'F32', OUT, 1],
    ],
  },
  {
    tool: 'SVDQuant',
    dtype: 'INT4 g64 r32',
    parts: [
      ['.qweight', 'I8', OUT, IN / 2],
      ['.wscales', 'BF16', IN / 64, OUT],
      ['.proj_down', 'BF16', IN, 32],
      ['.proj_up', 'BF16', OUT, 32],
      ['.smooth_factor', 'BF16', IN],
    ],
  },
];
