import { NORMS_AFTER, type Architecture } from './architecture';

export const olmo2: Architecture = {
  models: ['olmo2'],
  name: 'olmo2',
  modules: NORMS_AFTER,
  computes: { normPlaces: 'after', qkNorm: true, headNorm: 'together' },
};
