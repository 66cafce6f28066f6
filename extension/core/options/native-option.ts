/** Options in the native module's form: with the levels of their book. */
import type { NativeBook, NativeOption, NativeSweepOption } from '../native';
import { nativeBook } from './books/registry';
import { paperConfig } from './config';
import type { Option } from './types';

/** @param book the levels a file gives for an NF grid; default those of this version */
export function nativeOption(option: Option, book?: NativeBook): NativeOption {
  const { grid } = option;
  return grid.kind === 'nf' ? { ...option, book: book ?? nativeBook('nf', grid.bits) } : option;
}

/** One of the paper's options as the LQ iteration takes it, or undefined for another. */
export function lqOption(option: Option): NativeSweepOption | undefined {
  const config = paperConfig(option);
  return config && { config, rank: option.rank, book: nativeBook('nf', config.b0) };
}
