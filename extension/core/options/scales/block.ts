import type { ScalesOf } from '../types';
import type { ScaleKind } from './kind';

/** Scales that lie inside the blocks of codes: nothing of their own is stored. */
export const block: ScaleKind<ScalesOf<'block'>> = {
  label: () => '',
  fault: () => undefined,
  parts: () => [],
};
