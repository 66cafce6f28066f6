import type { Family } from './family';
import { mistral } from './mistral';

/** Ministral: Mistral with windows by layer. */
export const ministral: Family = { ...mistral, type: 'ministral', kvHeadsDefault: 'null' };
