/**
 * Options of one matrix and exactly what each costs in storage. Sizes follow the packed format: ragged tails count as
 * what they are, fields are padded to a byte at the end of a tensor (native/include/lq/types.h).
 */
import { codeBooks } from './books/registry';
import type { FactorStorage, Option } from './types';
import type { QuantConfig, ScaleType } from '../native';

const SCALE_BITS: Readonly<Record<ScaleType, number>> = { bf16: 16, fp16: 16, fp32: 32 };

/** Configuration of factors stored at NF8 (method: (8, 8, fp32, 64, 256)). */
export const NF8_FACTORS: QuantConfig = { b0: 8, b1: 8, b2: 'fp32', B0: 64, B1: 256 };

export const scaleBits = (type: ScaleType): number => SCALE_BITS[type];

/** Blocks of B0 weights; the last one may be short. */
export const blockCount = (config: QuantConfig, count: number): number => Math.ceil(count / config.B0);

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

/** Bytes of one low-rank factor of `count` elements. */
export function factorBytes(storage: FactorStorage, count: number): number {
  if (storage === 'nf8') return quantizedBytes(NF8_FACTORS, count);
  return count * (storage === 'bf16' ? 2 : 4);
}

/** Exactly the tensor bytes the packed checkpoint holds for a [rows, cols] matrix under an option. */
export function packedBytes(option: Option, rows: number, cols: number, factors: FactorStorage): number {
  const quantized = quantizedBytes(option.config, rows * cols) + codeBooks[option.book].storedBytes(option.config.b0);
  if (option.rank === 0) return quantized;
  return quantized + factorBytes(factors, rows * option.rank) + factorBytes(factors, option.rank * cols);
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

/** Every configuration of a grid with NormalFloat at one rank: the paper's set of options. */
export function gridOptions(grid: readonly QuantConfig[], rank: number): Option[] {
  return grid.map(config => ({ book: 'nf', config, rank, rounding: 'nearest' }));
}

/** One line for people: `NF3 b1=4 bf16 64x256 r16`. */
export function describeOption(option: Option): string {
  const { b0, b1, b2, B0, B1 } = option.config;
  const rank = option.rank > 0 ? ` r${option.rank}` : '';
  return `${codeBooks[option.book].label}${b0} b1=${b1} ${b2} ${B0}x${B1}${rank}`;
}
