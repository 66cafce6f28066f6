import { elementCount } from '../../dtypes';
import { numericDescriptor } from '../../checkpoint/formats/descriptors';
import { expectedShape } from './expected-shape';
import {
  asCount,
  partsOf,
  quantizationConfig,
  asRecord,
  statedBits,
  stem,
  type Format,
  type FormatSource,
} from './recogniser';

const PARTS =
  'W_q scale zero shape nbits group_size axis packing unpack_view_dtype view_as_float compute_dtype channel_wise optimize round_zero encoded_state_dict stores_quant_config offload_meta quant_scale quant_zero meta_scale meta_zero';

/**
 * HQQ: `W_q` holds the codes of a matrix that was reshaped into groups, `scale` and `zero` one value a group, and small
 * tensors the `shape`, `nbits`, `group_size` and `axis`. Where they cannot be believed the number of weights still follows
 * from the scales: the shape is then what config.json gives such a weight, or a plain count. Format: https://github.com/mobiusml/hqq.
 */
export const hqq: Format = {
  endings: ['W_q'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.W_q');
    const scale = base === undefined ? undefined : source.byName.get(`${base}.scale`);
    if (base === undefined) return undefined;
    const config = quantizationConfig(source);
    const nested = asRecord(config.weight_quant_params) ?? asRecord(asRecord(config.quant_config)?.weight_quant_params);
    const group = stated(base, 'group_size', source) ?? asCount(nested?.group_size);
    const shape = statedShape(base, source);
    const holds = (bits: number): number =>
      // Three bits go ten to a word, everything else fills its bytes.
      bits === 3 ? (tensor.bytes / 4) * 10 : (tensor.bytes * 8) / bits;
    const bits = stated(base, 'nbits', source) ?? statedBits(nested ?? config);
    const grouped = scale && groupedCount(scale.shape, tensor.shape);
    const count = shape
      ? elementCount(shape)
      : scale && group !== undefined && elementCount(scale.shape) > 0
        ? elementCount(scale.shape) * group
        : (grouped ?? (bits === undefined ? undefined : holds(bits)));
    if (count === undefined || !Number.isInteger(count)) return undefined;
    const width = [8, 4, 3, 2, 1, 6, 5].find(b => Math.abs(holds(b) - count) < (b === 3 ? count / 16 + 640 : 1));
    if (width === undefined) return undefined;
    return {
      name: `${base}.weight`,
      shape: shape ?? expectedShape(`${base}.weight`, count, source) ?? [count],
      dtype: `INT${width}${group === undefined ? '' : ` g${group}`}`,
      format: 'hqq',
      parts: partsOf(
        source,
        base,
        PARTS.split(' ').map(part => `.${part}`),
      ),
    };
  },
};

/** A scale a row of the packed matrix (axis 1) or a column of it (axis 0): the side that packing leaves alone is the group. */
function groupedCount(scale: readonly number[], packed: readonly number[]): number | undefined {
  if (scale.length !== 2 || packed.length !== 2) return undefined;
  return scale[1] === 1 ? scale[0]! * packed[1]! : undefined;
}

function stated(base: string, what: string, source: FormatSource): number | undefined {
  const tensor = source.byName.get(`${base}.${what}`);
  const value = asCount(tensor && numericDescriptor(source.descriptors.get(tensor.name), tensor.dtype)?.[0]);
  return value !== undefined && value <= (what === 'nbits' ? 8 : 65536) ? value : undefined;
}

function statedShape(base: string, source: FormatSource): number[] | undefined {
  const tensor = source.byName.get(`${base}.shape`);
  const sizes = tensor && numericDescriptor(source.descriptors.get(tensor.name), tensor.dtype);
  return sizes?.length === 2 && sizes.every(size => asCount(size) !== undefined && size < 2 ** 31) ? sizes : undefined;
}
