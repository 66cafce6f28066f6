import type { Family } from './family';
import { gpt2, gpt2Aliases, gpt2Inert } from './gpt2';

/** GPT-BigCode (StarCoder 1): GPT-2 with one key-value head, matrices stored as usual. */
export const gptBigcode: Family = {
  ...gpt2,
  type: 'gpt_bigcode',
  keys: [
    ...['layer_norm_epsilon', 'activation_function', 'scale_attn_weights', 'multi_query'],
    ...[...gpt2Inert, 'attention_softmax_in_fp32', 'scale_attention_softmax_in_fp32', 'inference_runner'],
    ...['validate_runner_input', 'pre_allocate_kv_cache', 'max_sequence_length', 'max_batch_size'],
  ],
  aliases: gpt2Aliases,
  kvHeadsDefault: config => (shared(config) ? 1 : config.count('num_attention_heads')),
  activation: ['activation_function', 'gelu_pytorch_tanh'],
  transposed: false,
  parts: config => ({ ...gpt2.parts?.(config), fusedQkv: shared(config) ? 'stacked' : 'grouped' }),
};

/** Whether all queries share one key and value. */
function shared(config: Parameters<NonNullable<Family['parts']>>[0]): boolean {
  return config.has('multi_query') ? config.flag('multi_query') : true;
}
