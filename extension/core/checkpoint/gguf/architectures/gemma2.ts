import { NORMS_AFTER, stated, type Architecture } from './architecture';
import { gemmaStream } from './gemma';

/** Layers of the 27B model, whose scores are scaled by the width of the stream instead of that of a head. */
const LARGEST = 46;

export const gemma2: Architecture = {
  models: ['gemma2'],
  name: 'gemma2',
  modules: NORMS_AFTER,
  computes: config => ({
    ...gemmaStream(config),
    normPlaces: 'both',
    ...(config.layers === LARGEST && { attentionScale: 1 / Math.sqrt(Math.floor(config.hidden / config.heads)) }),
  }),
  states: {
    attentionSoftcap: stated('attn_logit_softcapping'),
    logitSoftcap: stated('final_logit_softcapping'),
  },
  always: ['attentionSoftcap', 'logitSoftcap'],
  normOffset: 1,
  activations: ['gelu_tanh', 'gelu'],
  windowPeriod: 2,
  tied: true,
};
