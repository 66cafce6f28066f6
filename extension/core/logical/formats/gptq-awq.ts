import type { TensorInfo } from '../../checkpoint/types';
import {
  asCount,
  groupLabel,
  matrixShape,
  partsOf,
  quantizationConfig,
  statedBits,
  stem,
  type Format,
  type FormatSource,
  type PackedWeight,
} from './recogniser';

const WORD = 32;
const PARTS = ['.qweight', '.qzeros', '.scales', '.g_idx'];

/**
 * GPTQ: qweight I32 [in·b/32, out]. AWQ: qweight I32 [in, out·b/32]. Both: scales [groups, out], qzeros I32
 * [groups, out·b/32], and for GPTQ g_idx [in]. AWQ for matrix-vector products turns everything round and pads the groups:
 * qweight I32 [out, in/8] with scales [out, groups], or I16 [out/4, in] with scales [groups, out]. The bits of each matrix
 * follow from its own shapes, so models of mixed bits are read right.
 */
export const gptqAndAwq: Format = {
  endings: ['qweight'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.qweight');
    const packed = matrixShape(tensor);
    const scales = base === undefined ? undefined : matrixShape(source.byName.get(`${base}.scales`));
    if (base === undefined || !packed || !scales) return undefined;
    const zeros = matrixShape(source.byName.get(`${base}.qzeros`));
    const found =
      tensor.dtype === 'I16'
        ? awqFast(packed, scales)
        : tensor.dtype !== 'I32'
          ? undefined
          : isAwqVector(packed, scales, zeros)
            ? { format: 'awq' as const, bits: 4, shape: [packed[0], packed[1] * 8] as const, groups: undefined }
            : packed[1] === scales[1]
              ? gptq(base, packed, scales, zeros, source)
              : awq(packed, scales);
    if (!found) return undefined;
    const [out, inputs] = found.shape;
    // Padded groups do not tell their size.
    const group = asCount(quantizationConfig(source).group_size);
    const label =
      found.groups === undefined ? (group === undefined ? '' : ` g${group}`) : groupLabel(inputs, found.groups);
    return {
      name: `${base}.weight`,
      shape: [out, inputs],
      dtype: `INT${found.bits}${label}`,
      format: found.format,
      parts: partsOf(source, base, PARTS),
    };
  },
};

interface Layout {
  format: 'gptq' | 'awq';
  bits: number;
  shape: readonly [number, number];
  /** Undefined where the stored scales are padded. */
  groups: number | undefined;
}

function gptq(
  base: string,
  packed: readonly [number, number],
  [groups, out]: readonly [number, number],
  zeros: readonly [number, number] | undefined,
  source: FormatSource,
): Layout | undefined {
  const inputs = source.byName.get(`${base}.g_idx`)?.shape[0];
  const bits = validBits(
    zeros
      ? (zeros[1] * WORD) / out
      : inputs !== undefined
        ? (packed[0] * WORD) / inputs
        : statedBits(quantizationConfig(source)),
  );
  if (bits === undefined || !Number.isInteger((packed[0] * WORD) / bits)) return undefined;
  return { format: 'gptq', bits, shape: [out, (packed[0] * WORD) / bits], groups };
}

function awq(packed: readonly [number, number], [groups, out]: readonly [number, number]): Layout | undefined {
  const bits = validBits((packed[1] * WORD) / out);
  return bits === undefined ? undefined : { format: 'awq', bits, shape: [out, packed[0]], groups };
}

function isAwqVector(
  packed: readonly [number, number],
  scales: readonly [number, number],
  zeros: readonly [number, number] | undefined,
): boolean {
  return packed[0] === scales[0] && zeros?.[0] === scales[0] && zeros[1] * 8 === scales[1] && packed[1] !== scales[1];
}

function awqFast(packed: readonly [number, number], scales: readonly [number, number]): Layout | undefined {
  if (packed[0] * 4 !== scales[1]) return undefined;
  return { format: 'awq', bits: 4, shape: [scales[1], packed[1]], groups: undefined };
}

function validBits(bits: number | undefined): number | undefined {
  const valid = asCount(bits);
  return valid !== undefined && valid <= 8 ? valid : undefined;
}

/**
 * Marlin's own files: `B` I32 [in/16, out·16·b/32] with `s` [groups, out], and for 2:4 sparse weights `B_24` of half as many
 * rows with `B_meta` I16. Format: https://github.com/IST-DASLab/marlin.
 */
export const marlin: Format = {
  endings: ['B', 'B_24'],
  recognise(tensor, source): PackedWeight | undefined {
    const sparse = tensor.name.endsWith('.B_24');
    const base = stem(tensor.name, sparse ? '.B_24' : '.B');
    const scales = base === undefined ? undefined : matrixShape(source.byName.get(`${base}.s`));
    if (base === undefined || !scales) return undefined;
    const found = marlinShape(tensor, scales[1], sparse);
    if (!found) return undefined;
    return {
      name: `${base}.weight`,
      shape: found.shape,
      dtype: `INT${found.bits}${groupLabel(found.shape[1], scales[0])}${sparse ? ' 2:4' : ''}`,
      format: 'marlin',
      parts: partsOf(source, base, sparse ? ['.B_24', '.B_meta', '.s', '.workspace'] : ['.B', '.s', '.workspace']),
    };
  },
};

/** Shape and bits of tiles of 16 rows, packed in words; of a sparse weight half of the rows are stored. */
export function marlinShape(
  packed: TensorInfo,
  out: number,
  sparse: boolean,
): { shape: readonly [number, number]; bits: number } | undefined {
  const sizes = matrixShape(packed);
  if (!sizes || packed.dtype !== 'I32') return undefined;
  const bits = (sizes[1] * WORD) / (out * 16);
  return bits === 4 || bits === 8 ? { shape: [out, sizes[0] * (sparse ? 32 : 16)], bits } : undefined;
}
