/**
 * The paper's configurations c = (b0, b1, b2, B0, B1) and exactly what an array quantised under one takes. Ragged tails
 * count as what they are, fields are padded to a byte at the end of a tensor (native/include/lq/types.h).
 */
import type { QuantConfig, ScaleType } from '../native';
import type { Option } from './types';

const SCALE_BITS: Readonly<Record<ScaleType, number>> = { bf16: 16, fp16: 16, fp32: 32 };

/** Configuration of factors stored at NF8 (method: (8, 8, fp32, 64, 256)). */
export const NF8_FACTORS: QuantConfig = { b0: 8, b1: 8, b2: 'fp32', B0: 64, B1: 256 };

const scaleBits = (type: ScaleType): number => SCALE_BITS[type];

/** Blocks of B0 weights; the last one may be short. */
const blockCount = (config: QuantConfig, count: number): number => Math.ceil(count / config.B0);

/** Groups of B1 blocks; the last one may be short. */
export const groupCount = (config: QuantConfig, count: number): number =>
  Math.ceil(blockCount(config, count) / config.B1);

/** Bytes of each part of `count` packed weights. */
export function partBytes(
  config: QuantConfig,
  count: number,
): { codes: number; scales: number; groups: number; offset: number } {
  return {
    codes: Math.ceil((count * config.b0) / 8),
    scales: Math.ceil((blockCount(config, count) * config.b1) / 8),
    groups: (groupCount(config, count) * scaleBits(config.b2)) / 8,
    offset: 4,
  };
}

/** Bytes of `count` packed weights, offset included, without a book of their own. */
export function quantizedBytes(config: QuantConfig, count: number): number {
  const parts = partBytes(config, count);
  return parts.codes + parts.scales + parts.groups + parts.offset;
}

/**
 * Storage of codes, block scales and group maxima in bits: the paper's size of a matrix, exact for ragged tails. Offset
 * and low-rank factors are left out, as the paper does.
 */
export function storageBits(config: QuantConfig, count: number): number {
  return count * config.b0 + blockCount(config, count) * config.b1 + groupCount(config, count) * scaleBits(config.b2);
}

/** Bits per weight of a tensor that every block size divides (paper section 2.1): b0 + b1/B0 + bits(b2)/(B0 B1). */
export function nominalBits(config: QuantConfig): number {
  return config.b0 + config.b1 / config.B0 + scaleBits(config.b2) / (config.B0 * config.B1);
}

/** The paper's 243 configurations, b0 slowest and B1 fastest; the order is part of a sweep file's meaning. */
export function paperGrid(): QuantConfig[] {
  const grid: QuantConfig[] = [];
  for (const b0 of [2, 3, 4])
    for (const b1 of [2, 3, 4])
      for (const b2 of ['bf16', 'fp16', 'fp32'] as const)
        for (const B0 of [16, 32, 64]) for (const B1 of [16, 64, 256]) grid.push({ b0, b1, b2, B0, B1 });
  return grid;
}

/** NormalFloat under a configuration, each weight rounded to its nearest level: the paper's quantisation. */
export function paperOption({ b0, b1, b2, B0, B1 }: QuantConfig, rank: number): Option {
  const scales = { kind: 'two-level', b1, b2, B0, B1 } as const;
  return { transform: 'none', grid: { kind: 'nf', bits: b0 }, scales, rounding: 'nearest', rank };
}

/** Every configuration of a grid with NormalFloat at one rank: the paper's set of options. */
export function gridOptions(grid: readonly QuantConfig[], rank: number): Option[] {
  return grid.map(config => paperOption(config, rank));
}

/** The paper's configuration of an option, or undefined for one that is not the paper's kind. */
export function paperConfig({ transform, grid, scales, rounding }: Option): QuantConfig | undefined {
  if (transform !== 'none' || rounding !== 'nearest' || grid.kind !== 'nf' || scales.kind !== 'two-level')
    return undefined;
  const { b1, b2, B0, B1 } = scales;
  return { b0: grid.bits, b1, b2, B0, B1 };
}
