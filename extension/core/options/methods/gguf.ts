import type { GridOf, Option } from '../types';
import type { Method } from './method';

export type GgufOptionType = GridOf<'gguf'>['type'];

/** What llama.cpp computes with and this program encodes; blocks of 256 first, then those of 32 for other widths, then floats. */
const GGUF_TYPES: readonly GgufOptionType[] = [
  ...(['IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'Q2_K', 'IQ3_XXS', 'Q3_K', 'IQ3_S', 'IQ4_XS', 'Q4_K', 'Q5_K', 'Q6_K'] as const),
  ...(['MXFP4', 'IQ4_NL', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'F16', 'BF16'] as const),
];

/** An option of a block type, as it is written. */
export const ggufOption = (type: GgufOptionType): Option => ({
  transform: 'none',
  grid: { kind: 'gguf', type },
  scales: { kind: 'block' },
  rounding: 'descent',
  rank: 0,
});

export const gguf: Method = {
  label: 'GGUF',
  source: 'block types of ggml; feedback: Frantar et al., 2022, arXiv 2210.17323',
  description:
    'The k- and i-quants of llama.cpp, rounded with feedback and coordinate descent; the type of every matrix is the program’s choice.',
  // Feedback needs the second moment of inputs, which elementwise Fisher information does not have.
  metrics: ['kfac', 'plain'],
  secondPass: false,
  settings: [],
  options: () => GGUF_TYPES.map(ggufOption),
};
