import { NORMS_AFTER, type Architecture } from './architecture';

/** EXAONE 4 without windows: those of the 32B model are by its number of layers alone. */
export const exaone4: Architecture = {
  models: ['exaone4'],
  name: 'exaone4',
  modules: NORMS_AFTER,
  computes: { normPlaces: 'after', qkNorm: true },
  divisors: 'llama3',
};
