/** What a matrix can become. */
import type { QuantConfig } from '../native';
import type { BookId } from './books/registry';

/**
 * One way to store one matrix. The paper's set is 243 configurations at one rank; other books, ranks and roundings join by
 * adding options, nothing downstream knows how many kinds there are.
 */
export interface Option {
  /** Code book of config.b0 bits, by its name in books/registry.ts; `nf` is NormalFloat. */
  readonly book: BookId;
  readonly config: QuantConfig;
  readonly rank: number;
  readonly rounding: 'nearest';
}

/** How low-rank factors are stored. nf8 is (8, 8, fp32, 64, 256). */
export type FactorStorage = 'nf8' | 'bf16' | 'fp32';
