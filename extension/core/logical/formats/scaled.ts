/**
 * A weight that keeps its name beside a scale: FP8 of DeepSeek, ModelOpt, FBGEMM, Quark, llm-compressor and ComfyUI, INT8,
 * and the 4-bit floats that are packed two a byte (NVFP4 of ModelOpt and ComfyUI, MXFP4 of Quark). Experts may be stacked.
 */
import { elementCount } from '../../dtypes';
import type { StorageFormat, TensorInfo } from '../../checkpoint/types';
import {
  groupLabel,
  partsOf,
  quantizationConfig,
  stackShape,
  statedBits,
  stem,
  type Format,
  type FormatSource,
} from './recogniser';

/** Names of the scale, and of what else may be there, behind the name of the module. */
const OF_MODULE = [
  '.weight_scale',
  '.weight_scale_inv',
  '.scale_weight',
  '.scale',
  '.weight_scale_2',
  '.weight_zero_point',
  '.weight_g_idx',
  '.weight_shape',
  '.weight_global_scale',
  '.input_scale',
  '.scale_input',
  '.input_zero_point',
  '.input_global_scale',
  '.output_scale',
  '.comfy_quant',
];
/** The same behind the name of a parameter, as stacked experts have them. */
const OF_PARAMETER = [
  '_scale',
  '_scale_inv',
  '_weight_scale',
  '_scale_2',
  '_weight_scale_2',
  '_input_scale',
  '_bias_scale',
];

export const scaled: Format = {
  endings: ['_scale', '_inv', 'scale_weight', 'scale'],
  recognise(tensor, source) {
    const weight = weightOf(tensor.name, source);
    if (!weight) return undefined;
    const layout = layoutOf(weight.tensor, tensor, source);
    if (!layout) return undefined;
    return {
      name: weight.tensor.name,
      shape: layout.shape,
      dtype: layout.label,
      format: layout.format,
      parts: [weight.tensor, ...partsOf(source, weight.base, weight.suffixes)],
    };
  },
};

interface Scaled {
  tensor: TensorInfo;
  base: string;
  suffixes: readonly string[];
}

/** The weight that a scale belongs to; of several scales only the first in the lists above gives it away. */
function weightOf(scale: string, source: FormatSource): Scaled | undefined {
  for (const suffix of OF_MODULE.slice(0, 4)) {
    const base = stem(scale, suffix);
    const tensor = base === undefined ? undefined : source.byName.get(`${base}.weight`);
    if (base !== undefined && tensor) return { tensor, base, suffixes: OF_MODULE };
  }
  for (const suffix of OF_PARAMETER.slice(0, 3)) {
    const base = stem(scale, suffix);
    const tensor = base === undefined ? undefined : source.byName.get(base);
    if (base !== undefined && tensor && tensor.shape.length > 2) return { tensor, base, suffixes: OF_PARAMETER };
  }
  return undefined;
}

interface Layout {
  shape: readonly number[];
  label: string;
  format: StorageFormat;
}

const isExponent = (scale: TensorInfo): boolean => scale.dtype === 'F8_E8M0' || scale.dtype === 'U8';

/** Bytes of eight-bit floats, in MX groups of 32 or under scales of another shape. */
function float8(weight: TensorInfo, scale: TensorInfo, format: StorageFormat): Layout {
  const sizes = stackShape(weight);
  const groups = sizes && Math.ceil(sizes.columns / 32);
  const mx = isExponent(scale) && stackShape(scale)?.columns === groups && scale.shape.at(-2) === sizes?.rows;
  return { shape: weight.shape, label: mx ? `MXFP8 g32` : weight.dtype + scaleLabel(weight, scale), format };
}

/** What bytes that hold two four-bit floats each are called, by their scales. */
function float4Pairs(weight: TensorInfo, scale: TensorInfo): Pick<Layout, 'label' | 'format'> | undefined {
  if (weight.dtype !== 'U8' && weight.dtype !== 'I8') return undefined;
  // ComfyUI pads the scales to tiles of 128 x 4, so that their number is at least what the groups need.
  if (scale.dtype === 'F8_E4M3' && elementCount(scale.shape) * 8 >= elementCount(weight.shape))
    return { label: 'NVFP4 g16', format: 'nvfp4' };
  const columns = stackShape(scale)?.columns;
  if (isExponent(scale) && columns !== undefined && columns * 16 === stackShape(weight)?.columns)
    return { label: 'MXFP4 g32', format: 'mxfp4' };
  return undefined;
}

function layoutOf(weight: TensorInfo, scale: TensorInfo, source: FormatSource): Layout | undefined {
  const config = quantizationConfig(source);
  const method = config.quant_method;
  const tool: StorageFormat = method === 'quark' ? 'quark' : 'compressed-tensors';
  const sizes = stackShape(weight);
  const columns = stackShape(scale)?.columns;
  if (weight.dtype.startsWith('F8_'))
    return float8(weight, scale, method === 'compressed-tensors' || method === 'quark' ? tool : 'fp8');
  if (!sizes) return undefined;
  const { stack, rows } = sizes;
  const twice: Layout['shape'] = [...stack, rows, sizes.columns * 2];
  if (weight.dtype === 'F4') {
    const nv = scale.dtype === 'F8_E4M3';
    return { shape: weight.shape, label: nv ? 'NVFP4 g16' : 'MXFP4 g32', format: nv ? 'nvfp4' : 'mxfp4' };
  }
  const pairs = float4Pairs(weight, scale);
  if (pairs !== undefined) return { shape: twice, ...pairs };
  if (weight.dtype === 'U8') {
    // Four ternary weights a byte, packed along the outputs, under one scale.
    if (
      method === 'bitnet' ||
      (elementCount(scale.shape) === 1 && !source.byName.has(scale.name.replace(/scale$/, 'zero_point')))
    ) {
      return { shape: [...stack, rows * 4, sizes.columns], label: 'ternary', format: 'bitnet' };
    }
    if (statedBits(config) === 4) {
      return { shape: twice, label: `INT4${groupLabel(sizes.columns * 2, columns ?? 1)}`, format: tool };
    }
    return { shape: weight.shape, label: `UINT8${groupLabel(sizes.columns, columns ?? 1)}`, format: tool };
  }
  if (weight.dtype === 'I8') return { shape: weight.shape, label: `INT8${scaleLabel(weight, scale)}`, format: tool };
  return weight.dtype === 'I32' ? words(weight, scale, source, tool) : undefined;
}

/** Quark packs eight 4-bit codes a word, along the inputs or, as AWQ does, along the outputs; the scales tell which. */
function words(weight: TensorInfo, scale: TensorInfo, source: FormatSource, tool: StorageFormat): Layout | undefined {
  const [packed, scales] = [stackShape(weight), stackShape(scale)];
  const bits = statedBits(quantizationConfig(source)) ?? 4;
  const perWord = 32 / bits;
  if (!packed || !scales || !Number.isInteger(perWord)) return undefined;
  if (scales.rows === packed.rows) {
    const inputs = packed.columns * perWord;
    return {
      shape: [...packed.stack, packed.rows, inputs],
      label: `INT${bits}${groupLabel(inputs, scales.columns)}`,
      format: tool,
    };
  }
  if (scales.columns !== packed.columns * perWord) return undefined;
  return {
    shape: [...packed.stack, scales.columns, packed.rows],
    label: `INT${bits}${groupLabel(packed.rows, scales.rows)}`,
    format: tool,
  };
}

/** ` 128×128` for blocks of rows and columns, ` g32` for groups of columns, nothing for a scale a row or one for all. */
function scaleLabel(weight: TensorInfo, scale: TensorInfo): string {
  const [sizes, scales] = [stackShape(weight), stackShape(scale)];
  if (!sizes || !scales || scale.shape.length !== weight.shape.length) return '';
  const inBlocks = scale.name.endsWith('_inv') || (scales.rows > 1 && scales.rows < sizes.rows);
  if (scales.rows < sizes.rows && inBlocks)
    return ` ${blockSize(sizes.rows, scales.rows)}×${blockSize(sizes.columns, scales.columns)}`;
  return scales.rows === sizes.rows && scales.columns !== sizes.columns
    ? groupLabel(sizes.columns, scales.columns)
    : '';
}

/** Blocks are powers of two; the last one may be short, so the counts alone leave a range. */
function blockSize(size: number, blocks: number): number {
  return blocks <= 1 ? size : 2 ** Math.ceil(Math.log2(size / blocks));
}
