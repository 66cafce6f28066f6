import type { Architecture } from './architecture';

/** Every so many layers one turns nothing. */
const PERIOD = 4;

export const smollm3: Architecture = {
  models: ['smollm3'],
  name: 'smollm3',
  paired: true,
  divisors: 'llama3',
  rotary: layer => ((layer + 1) % PERIOD === 0 ? 'none' : 'standard'),
};
