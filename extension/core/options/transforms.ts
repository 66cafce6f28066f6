/** What can be done to the input side of a matrix, by name. */
import type { Transform } from './types';

interface TransformKind {
  /** For people. */
  readonly label: string;
}

const transforms: Readonly<Record<Transform, TransformKind>> = {
  none: { label: 'not rotated' },
  // Blocks of b inputs, b the largest power of two that divides them and is at most 512, are multiplied with a Hadamard
  // matrix over sqrt(b) after signs drawn from the seed: outliers spread and weights look Gaussian (QuIP#, arXiv 2402.04396).
  hadamard: { label: 'rotated' },
};

export const isTransform = (name: unknown): name is Transform => Object.hasOwn(transforms, name as string);

export const transformLabel = (transform: Transform): string => transforms[transform].label;
