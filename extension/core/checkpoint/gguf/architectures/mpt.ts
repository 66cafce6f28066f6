import { mptSlopes } from '../../../evaluation/families/alibi';
import { f32, stated, type Architecture } from './architecture';

/** Of the steepest slope: 2^-8 is that of the last head. */
const BIAS_MAX = 8;

/** Biases by distance, norms without a bias. */
export const mpt: Architecture = {
  models: ['mpt'],
  name: 'mpt',
  computes: ({ heads }) => ({
    norm: 'layer',
    normUnbiased: true,
    plainMlp: true,
    fusedQkv: 'stacked',
    alibi: mptSlopes(heads, BIAS_MAX),
  }),
  states: { attentionClamp: stated('attention.clamp_kqv') },
  keys: () => [['attention.max_alibi_bias', f32(BIAS_MAX)]],
  activations: ['gelu', 'gelu_tanh'],
  rotary: () => 'none',
};
