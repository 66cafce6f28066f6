/** Names that families share: Llama's, and those of several older ones. */
import type { OuterNames } from './family';

/** Names outside the blocks in Llama, alone, in a causal model, or in one for images too. */
export const LLAMA_OUTER: OuterNames = {
  prefixes: ['model.', '', 'model.language_model.', 'language_model.model.', 'language_model.'],
  layers: 'layers',
  modules: { embedding: 'embed_tokens', final_norm: 'norm' },
  head: { head: ['lm_head.weight', 'language_model.lm_head.weight', 'model.lm_head.weight'] },
};

/** Modules of a block in Llama, by kind of weight. */
export const LLAMA_MODULES: Readonly<Record<string, string>> = {
  input_norm: 'input_layernorm',
  post_attention_norm: 'post_attention_layernorm',
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  q_norm: 'self_attn.q_norm',
  k_norm: 'self_attn.k_norm',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
  qkv: 'self_attn.qkv_proj',
  gate_up: 'mlp.gate_up_proj',
};

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
