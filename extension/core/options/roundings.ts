/** How codes are chosen, by name. */
import type { Rounding } from './types';

interface RoundingKind {
  /** For people. */
  readonly label: string;
}

const roundings: Readonly<Record<Rounding, RoundingKind>> = {
  // Each weight its nearest level.
  nearest: { label: 'nearest' },
  // Each block of columns takes up the error of those before it (GPTQ, arXiv 2210.17323, which is LDLQ of QuIP).
  feedback: { label: 'feedback' },
  // Feedback, then codes changed one at a time while the error falls.
  descent: { label: 'descent' },
};

export const isRounding = (name: unknown): name is Rounding => Object.hasOwn(roundings, name as string);

export const roundingLabel = (rounding: Rounding): string => roundings[rounding].label;
