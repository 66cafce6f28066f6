import { NORMS_AFTER, type Architecture } from './architecture';

/** OLMo 2, and OLMo 3, which has windows in three of four layers: the scaling of its rotary embedding is that of the others. */
export const olmo2: Architecture = {
  models: ['olmo2', 'olmo3'],
  name: 'olmo2',
  modules: NORMS_AFTER,
  computes: ({ layerTraits = [], ropeTheta }) => ({
    ...{ normPlaces: 'after', qkNorm: true, headNorm: 'together' },
    ...(layerTraits.some(({ window }) => window > 0) && { ropeLocalTheta: ropeTheta }),
  }),
  windowPeriod: 4,
  windowOptional: true,
  rotary: (_, windowed) => (windowed ? 'local' : 'standard'),
};
