/** What can be done to the input side of a matrix, by name. */
import type { Part } from './parts';
import type { Option, Transform } from './types';

interface TransformKind {
  /** For people. */
  readonly label: string;
  /** What is stored for it beside the codes. */
  parts?(cols: number): Part[];
  /** Why an option cannot have it, as the end of a sentence, or undefined. */
  fault?(option: Option): string | undefined;
}

const transforms: Readonly<Record<Transform, TransformKind>> = {
  none: { label: 'not rotated' },
  // Blocks of b inputs, b the largest power of two that divides them and is at most 512, are multiplied with a Hadamard
  // matrix over sqrt(b) after signs drawn from the seed: outliers spread and weights look Gaussian (QuIP#, arXiv 2402.04396).
  hadamard: { label: 'rotated' },
  // Blocks of 128 inputs and of 128 outputs, scales and signs on both sides, as EXL3 has them: part of its grid.
  'two-sided': { label: 'rotated on both sides' },
  // Inputs are divided by powers of their size, columns multiplied with them: what meets large inputs has finer codes
  // (AWQ, arXiv 2306.00978). Stored, one number an input.
  scaled: {
    label: 'scaled inputs',
    parts: cols => [{ name: 'input_scales', dtype: 'F16', shape: [cols] }],
    fault: ({ rank, scales }) =>
      rank > 0 || scales.kind === 'searched'
        ? 'scaled inputs go with group or row scales and without a low-rank part'
        : undefined,
  },
};

export const isTransform = (name: unknown): name is Transform => Object.hasOwn(transforms, name as string);

export const transformLabel = (transform: Transform): string => transforms[transform].label;

export const transformParts = (transform: Transform, cols: number): Part[] => transforms[transform].parts?.(cols) ?? [];

export const transformFault = (option: Option): string | undefined => transforms[option.transform].fault?.(option);
