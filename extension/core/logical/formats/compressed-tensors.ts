/** compressed-tensors of vLLM and llm-compressor, where the weight has another name than it had: packed and sparse ones. */
import { elementCount } from '../../dtypes';
import type { TensorInfo } from '../../checkpoint/types';
import { numericDescriptor } from '../../checkpoint/formats/descriptors';
import { marlinShape } from './gptq-awq';
import { matchesWhole } from './patterns';
import {
  asCount,
  asRecord,
  groupLabel,
  matrixShape,
  partsOf,
  quantizationConfig,
  stackShape,
  stem,
  type Format,
  type FormatSource,
  type PackedWeight,
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

/**
 * pack-quantized: weight_packed I32 [.., out, ceil(in·b/32)]. nvfp4 and mxfp4: weight_packed U8 [.., out, in/2].
 * marlin-24: weight_packed I32 in tiles, with scale_packed [groups, out] and meta.
 */
export const packedTensors: Format = {
  endings: ['weight_packed'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.weight_packed');
    const packed = stackShape(tensor);
    if (base === undefined || !packed) return undefined;
    const scale = source.byName.get(`${base}.weight_scale`);
    if (!scale) return marlin24(tensor, base, source);
    const type = tensor.dtype === 'U8' ? floatType(packed.columns, scale) : integerType(tensor, scale, base, source);
    if (!type) return undefined;
    return {
      name: `${base}.weight`,
      shape: [...packed.stack, packed.rows, type.inputs],
      dtype: `${type.label}${groupLabel(type.inputs, stackShape(scale)?.columns ?? 1)}`,
      format: 'compressed-tensors',
      parts: partsOf(source, base, ['.weight_packed', ...SCALES]),
    };
  },
};

function floatType(bytes: number, scale: TensorInfo): { label: string; inputs: number } {
  const exponents = scale.dtype === 'U8' || scale.dtype === 'F8_E8M0';
  return { label: scale.dtype === 'F8_E4M3' ? 'NVFP4' : exponents ? 'MXFP4' : 'FP4', inputs: bytes * 2 };
}

/** The number of columns from weight_shape or the scales' groups, and the bits that fill the words with it. */
function integerType(
  tensor: TensorInfo,
  scale: TensorInfo,
  base: string,
  source: FormatSource,
): { label: string; inputs: number } | undefined {
  const packed = stackShape(tensor);
  if (tensor.dtype !== 'I32' || !packed) return undefined;
  const groups = stackShape(scale)?.columns ?? 0;
  const filling = (inputs: number): { label: string; inputs: number } | undefined => {
    const bits = [1, 2, 3, 4, 5, 6, 7, 8].find(b => Math.ceil((inputs * b) / WORD) === packed.columns);
    return inputs > 0 && bits !== undefined ? { label: `INT${bits}`, inputs } : undefined;
  };
  const stated = filling(statedInputs(base, packed.rows, source) ?? 0);
  if (stated) return stated;
  const schemes = weightSchemes(base, source);
  for (const { bits, groupSize } of schemes) {
    const found = groups > 1 && groupSize !== undefined ? filling(groups * groupSize) : undefined;
    if (found && (bits === undefined || found.label === `INT${bits}`)) return found;
  }
  const bits = schemes.find(scheme => scheme.bits !== undefined)?.bits;
  if (bits === undefined) return undefined;
  return { label: `INT${bits}`, inputs: Math.floor((packed.columns * WORD) / bits) };
}

/** `in` of the weight_shape tensor [out, in]. */
function statedInputs(base: string, out: number, source: FormatSource): number | undefined {
  const name = `${base}.weight_shape`;
  const tensor = source.byName.get(name);
  const sizes = tensor && numericDescriptor(source.descriptors.get(name), tensor.dtype);
  return sizes?.length === 2 && sizes[0] === out ? asCount(sizes[1]) : undefined;
}

interface Scheme {
  bits?: number;
  groupSize?: number;
}

/** Bits and group size of the configuration's schemes: those whose targets name the module first, classes after them. */
function weightSchemes(module: string, source: FormatSource): Scheme[] {
  const groups = Object.values(asRecord(quantizationConfig(source).config_groups) ?? {}).map(asRecord);
  const named = (group: (typeof groups)[number]): boolean => {
    const targets = Array.isArray(group?.targets) ? group.targets : [];
    return targets.some(
      target =>
        typeof target === 'string' &&
        (target.startsWith('re:') ? matchesWhole(target.slice(3), module) : module === target),
    );
  };
  const ordered = [...groups.filter(named), ...groups.filter(group => !named(group))];
  return ordered.map(group => {
    const weights = asRecord(group?.weights);
    const bits = asCount(weights?.num_bits);
    const groupSize = asCount(weights?.group_size);
    return { ...(bits !== undefined && bits <= 8 && { bits }), ...(groupSize !== undefined && { groupSize }) };
  });
}

function marlin24(tensor: TensorInfo, base: string, source: FormatSource): PackedWeight | undefined {
  const scales = matrixShape(source.byName.get(`${base}.scale_packed`));
  const found = scales && marlinShape(tensor, scales[1], true);
  if (!scales || !found) return undefined;
  return {
    name: `${base}.weight`,
    shape: found.shape,
    dtype: `INT${found.bits}${groupLabel(found.shape[1], scales[0])} 2:4`,
    format: 'compressed-tensors',
    parts: partsOf(source, base, ['.weight_packed', '.scale_packed', '.meta']),
  };
}

/**
 * sparse-24-bitmask and sparse-bitmask: `bitmask` U8 [out, ceil(in/8)] says which weights `compressed` holds; `shape` I64
 * [2]. Both behind the module's name or the weight's.
 */
export const sparse: Format = {
  endings: ['bitmask'],
  recognise(tensor, source) {
    const owner = stem(tensor.name, '.bitmask');
    const values = owner === undefined ? undefined : source.byName.get(`${owner}.compressed`);
    const mask = matrixShape(tensor);
    if (owner === undefined || !values || !mask || tensor.dtype !== 'U8') return undefined;
    const name = owner.endsWith('.weight') ? owner : `${owner}.weight`;
    const stored = source.byName.get(`${owner}.shape`);
    const stated = stored && numericDescriptor(source.descriptors.get(stored.name), stored.dtype);
    const fits = stated?.length === 2 && stated[0] === mask[0] && Math.ceil(stated[1]! / 8) === mask[1];
    const shape = fits ? stated : [mask[0], mask[1] * 8];
    const half = elementCount(values.shape) * 2 === elementCount(shape);
    const base = owner.endsWith('.weight') ? owner.slice(0, -'.weight'.length) : owner;
    return {
      name,
      shape,
      dtype: `${values.dtype} ${half ? '2:4' : 'sparse'}`,
      format: 'compressed-tensors',
      parts: [
        ...partsOf(source, owner, ['.compressed', '.bitmask', '.shape', '.row_offsets']),
        ...partsOf(source, base, SCALES),
      ],
    };
  },
};
