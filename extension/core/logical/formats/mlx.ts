import type { TensorInfo } from '../../checkpoint/types';
import { asCount, asRecord, partsOf, stackShape, stem, type Format, type FormatSource } from './recogniser';

const WORD = 32;
/** Widths and group sizes that mlx.core.quantize knows. */
const WIDTHS = [4, 8, 2, 3, 5, 6];
const GROUPS = [64, 32, 128, 16];

/**
 * MLX: `weight` U32 [.., out, in·b/32], `scales` [.., out, in/g] and, for affine codes, `biases` alike; scales of bytes are
 * those of MXFP4, MXFP8 and NVFP4. Bits and groups are in config.json, for the model and for single modules: the shapes
 * alone leave more than one reading.
 */
export const mlx: Format = {
  endings: ['scales'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.scales');
    const weight = base === undefined ? undefined : source.byName.get(`${base}.weight`);
    const packed = stackShape(weight);
    if (base === undefined || weight?.dtype !== 'U32' || !packed) return undefined;
    const scheme = schemeOf(base, weight, tensor, source);
    if (!scheme) return undefined;
    return {
      name: weight.name,
      shape: [...packed.stack, packed.rows, (packed.columns * WORD) / scheme.bits],
      dtype: `${scheme.label} g${scheme.group}`,
      format: 'mlx',
      parts: partsOf(source, base, ['.weight', '.scales', '.biases']),
    };
  },
};

interface Scheme {
  bits: number;
  group: number;
  label: string;
}

function schemeOf(module: string, weight: TensorInfo, scales: TensorInfo, source: FormatSource): Scheme | undefined {
  const words = weight.shape.at(-1)!;
  const groups = scales.shape.at(-1) ?? 0;
  const general = asRecord(source.config?.quantization) ?? asRecord(source.config?.quantization_config) ?? {};
  const own = asRecord(general[module]) ?? {};
  const stated = {
    bits: asCount(own.bits) ?? asCount(general.bits),
    group: asCount(own.group_size) ?? asCount(general.group_size),
  };
  const fits = (bits: number, group: number): boolean => groups * group * bits === words * WORD;
  const bytes = scales.dtype === 'U8';
  const label = (bits: number, group: number): string =>
    !bytes ? `INT${bits}` : group === 16 ? `NVFP${bits}` : `MXFP${bits}`;
  const found = (bits: number, group: number): Scheme => ({ bits, group, label: label(bits, group) });
  if (stated.bits !== undefined && stated.group !== undefined && fits(stated.bits, stated.group))
    return found(stated.bits, stated.group);
  // Without a word from the configuration: what quantize does by default, unless the shapes say otherwise.
  const groupSizes = bytes ? [32, 16] : stated.group === undefined ? GROUPS : [stated.group, ...GROUPS];
  for (const group of groupSizes) {
    const bits = (bytes ? [4, 8] : WIDTHS).find(width => fits(width, group));
    if (bits !== undefined) return found(bits, group);
  }
  return undefined;
}
