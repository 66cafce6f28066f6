import { stated, type Architecture } from './architecture';

/** Models of so many layers have norms of queries and keys, others none. */
const NORMED = 64;

export const cohere: Architecture = {
  models: ['cohere'],
  name: 'command-r',
  computes: ({ layers }) => ({
    norm: 'layer',
    normUnbiased: true,
    parallel: true,
    sharedNorm: true,
    rotaryInterleaved: true,
    ...(layers >= NORMED && { qkNorm: true, headNorm: 'layer_own' }),
  }),
  states: { logitScale: stated('logit_scale') },
  biases: ['attention'],
  tied: true,
};
