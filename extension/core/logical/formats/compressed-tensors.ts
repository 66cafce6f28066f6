import type { TensorInfo } from '../../checkpoint/types';
import { numericDescriptor } from '../../checkpoint/formats/descriptors';
import {
  asCount,
  asRecord,
  groupLabel,
  matrixShape,
  partsOf,
  quantizationConfig,
  stem,
  type FormatSource,
  type PackedWeight,
  type Recogniser,
} from './recogniser';

const SCALES = [
  '.weight_scale',
  '.weight_zero_point',
  '.weight_g_idx',
  '.weight_shape',
  '.weight_global_scale',
  '.input_scale',
  '.input_zero_point',
  '.input_global_scale',
];
const WORD = 32;

/** pack-quantized: weight_packed I32 [out, ceil(in·b/32)]. nvfp4: weight_packed U8 [out, in/2]. */
export const recognisePackedTensors: Recogniser = (tensor, source) => {
  const base = stem(tensor.name, '.weight_packed');
  const packed = matrixShape(tensor);
  const scale = base === undefined ? undefined : source.byName.get(`${base}.weight_scale`);
  if (base === undefined || !packed || !scale) return undefined;
  const type =
    tensor.dtype === 'U8'
      ? { label: scale.dtype === 'F8_E4M3' ? 'NVFP4' : 'FP4', inputs: packed[1] * 2 }
      : integerType(tensor, packed, scale, base, source);
  if (!type) return undefined;
  return {
    name: `${base}.weight`,
    shape: [packed[0], type.inputs],
    dtype: `${type.label}${groupLabel(type.inputs, matrixShape(scale)?.[1] ?? 1)}`,
    format: 'compressed-tensors',
    parts: partsOf(source, base, ['.weight_packed', ...SCALES]),
  };
};

/** The weight keeps its name, in I8 or an 8-bit float; without the tool's own configuration that is plain FP8. */
export const recogniseScaledTensors: Recogniser = (tensor, source): PackedWeight | undefined => {
  const base = stem(tensor.name, '.weight_scale');
  const weight = base === undefined ? undefined : source.byName.get(`${base}.weight`);
  const float = weight?.dtype.startsWith('F8_') ?? false;
  if (base === undefined || !weight || !(float || weight.dtype === 'I8')) return undefined;
  const shape = matrixShape(weight);
  const scale = matrixShape(tensor);
  const plain = float && quantizationConfig(source).quant_method !== 'compressed-tensors';
  return {
    name: weight.name,
    shape: weight.shape,
    dtype: `${float ? weight.dtype : 'INT8'}${shape && scale ? groupLabel(shape[1], scale[1]) : ''}`,
    format: plain ? 'fp8' : 'compressed-tensors',
    parts: partsOf(source, base, ['.weight', ...SCALES]),
  };
};

/** The number of columns from weight_shape or the scales' groups, and the bits that fill the words with it. */
function integerType(
  tensor: TensorInfo,
  [out, words]: readonly [number, number],
  scale: TensorInfo,
  base: string,
  source: FormatSource,
): { label: string; inputs: number } | undefined {
  if (tensor.dtype !== 'I32') return undefined;
  const scheme = weightScheme(source);
  const inputs = statedInputs(base, out, source) ?? (scheme.groupSize ?? 0) * (matrixShape(scale)?.[1] ?? 0);
  if (inputs > 0) {
    const bits = [1, 2, 3, 4, 5, 6, 7, 8].find(b => Math.ceil((inputs * b) / WORD) === words);
    if (bits !== undefined) return { label: `INT${bits}`, inputs };
  }
  if (scheme.bits === undefined) return undefined;
  return { label: `INT${scheme.bits}`, inputs: Math.floor((words * WORD) / scheme.bits) };
}

/** `in` of the weight_shape tensor [out, in]. */
function statedInputs(base: string, out: number, source: FormatSource): number | undefined {
  const name = `${base}.weight_shape`;
  const tensor = source.byName.get(name);
  const sizes = tensor && numericDescriptor(source.descriptors.get(name), tensor.dtype);
  return sizes?.length === 2 && sizes[0] === out ? asCount(sizes[1]) : undefined;
}

/** Bits and group size of the first scheme in config.json, for files without weight_shape. */
function weightScheme(source: FormatSource): { bits?: number; groupSize?: number } {
  const groups = Object.values(asRecord(quantizationConfig(source).config_groups) ?? {});
  const weights = asRecord(asRecord(groups[0])?.weights);
  const bits = asCount(weights?.num_bits);
  const groupSize = asCount(weights?.group_size);
  return { ...(bits !== undefined && bits <= 8 && { bits }), ...(groupSize !== undefined && { groupSize }) };
}
