import { NORMS_AFTER, stated, type Architecture } from './architecture';
import { gemmaStream } from './gemma';

/** Layers of the 27B model, whose scores are scaled by the width of the stream instead of that of a head. */
const LARGEST = 62;
/** Every so many layers one sees everything, and turns by the base that the file says; the others turn by a fixed one. */
const PERIOD = 6;

export const gemma3: Architecture = {
  models: ['gemma3_text', 'gemma3'],
  name: 'gemma3',
  modules: NORMS_AFTER,
  computes: config => ({
    ...gemmaStream(config),
    normPlaces: 'both',
    qkNorm: true,
    ropeLocalTheta: 10_000,
    ...(config.layers === LARGEST && { attentionScale: 1 / Math.sqrt(Math.floor(config.hidden / config.heads)) }),
  }),
  states: { logitSoftcap: stated('final_logit_softcapping') },
  normOffset: 1,
  activations: ['gelu_tanh', 'gelu'],
  windowPeriod: PERIOD,
  rotary: layer => ((layer + 1) % PERIOD === 0 ? 'standard' : 'local'),
};
