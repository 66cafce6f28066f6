import { stated, type Architecture } from './architecture';

/** Every fourth layer sees everything and turns nothing. */
const PERIOD = 4;

export const cohere2: Architecture = {
  models: ['cohere2'],
  name: 'cohere2',
  computes: { norm: 'layer', normUnbiased: true, parallel: true, sharedNorm: true, rotaryInterleaved: true },
  states: { logitScale: stated('logit_scale') },
  biases: ['attention'],
  windowPeriod: PERIOD,
  rotary: layer => ((layer + 1) % PERIOD === 0 ? 'none' : 'standard'),
  tied: true,
};
