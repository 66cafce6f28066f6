import { everyLayer, type Family } from './family';
import { gpt2Aliases, gpt2Inert } from './gpt2';
import { headBiasNames, transformerNames } from './names';

/** GPT-J: attention and MLP side by side behind one norm, neighbouring dimensions rotated. */
export const gptj: Family = {
  type: 'gptj',
  keys: ['layer_norm_epsilon', 'activation_function', 'rotary_dim', 'rotary', 'scale_attn_weights', ...gpt2Inert],
  aliases: gpt2Aliases,
  defaults: config => ({ intermediate_size: 4 * config.count('hidden_size') }),
  neverNull: ['rotary_dim'],
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_epsilon', 1e-5],
  activation: ['activation_function', 'gelu_new'],
  modules: {
    input_norm: 'ln_1',
    ...{ q: 'attn.q_proj', k: 'attn.k_proj', v: 'attn.v_proj', o: 'attn.out_proj' },
    ...{ up: 'mlp.fc_in', down: 'mlp.fc_out' },
  },
  outer: { ...transformerNames(), head: { head: ['lm_head.weight'], ...headBiasNames } },
  parts: config => ({
    norm: 'layer',
    plainMlp: true,
    parallel: true,
    sharedNorm: true,
    rotaryInterleaved: true,
    rotaryDim: config.count('rotary_dim', 64),
    headBias: true,
  }),
  biases: () => ({ attentionBias: false, outputBias: false, mlpBias: true }),
  windows: (_, layers) => everyLayer(0, layers),
};
