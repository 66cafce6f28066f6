import type { Architecture } from './architecture';

/** Llama whose neighbouring dimensions are rotated. */
export const ernie45: Architecture = {
  models: ['ernie4_5'],
  name: 'ernie4_5',
  computes: { rotaryInterleaved: true },
  biases: ['attention', 'output'],
};
