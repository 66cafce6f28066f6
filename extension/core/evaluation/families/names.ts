/** Names that several older families share. */
import type { OuterNames } from './family';

/** Names of the network as GPT-2's descendants have them. */
export const transformerNames = (
  modules: Readonly<Record<string, string>> = {},
  layers = 'h',
): Partial<OuterNames> => ({
  prefixes: ['transformer.', ''],
  layers,
  modules: { embedding: 'wte', positions: 'wpe', final_norm: 'ln_f', ...modules },
});

/** An MLP without a gate, as EleutherAI's and TII's models name it. */
export const wideMlp = { up: 'mlp.dense_h_to_4h', down: 'mlp.dense_4h_to_h' };

/** Biases of a head of its own. */
export const headBiasNames = { head_bias: ['lm_head.bias'] };
