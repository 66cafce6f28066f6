import { stated, type Architecture } from './architecture';

/** Norms have no weights. */
export const olmo: Architecture = {
  models: ['olmo'],
  name: 'olmo',
  paired: true,
  computes: { norm: 'layer', normBare: true },
  states: { attentionClamp: stated('attention.clamp_kqv') },
};
