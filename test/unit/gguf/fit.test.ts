/** What llama.cpp would compute otherwise is refused by name before anything is written. */
import { describe, expect, it } from 'vitest';
import { languageModelConfig } from '../../../extension/core/evaluation/architecture';
import { architectureOf } from '../../../extension/core/checkpoint/gguf/architectures/registry';
import { modelFields } from '../../../extension/core/export/gguf/fields';
import { requireFit, windowOf } from '../../../extension/core/export/gguf/fit';

const SIZES = {
  ...{ hidden_size: 64, intermediate_size: 96, num_hidden_layers: 4, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ vocab_size: 100, max_position_embeddings: 128 },
};

function fit(modelType: string, changes: Record<string, unknown> = {}): Map<string, unknown> {
  const { config } = languageModelConfig({ model_type: modelType, ...SIZES, ...changes }, '/m/config.json');
  const architecture = architectureOf(modelType)!;
  requireFit(config, architecture, '/m/config.json');
  const fields = modelFields(config, architecture, 'model', 'F32', '/m/config.json');
  return new Map([...fields].map(([key, { value }]) => [key.replace(`${architecture.name}.`, ''), value]));
}

describe('a network that llama.cpp computes', () => {
  it('has the keys of its architecture', () => {
    expect(
      Object.fromEntries(fit('gemma2', { head_dim: 16, query_pre_attn_scalar: 16, sliding_window: 32 })),
    ).toMatchObject({
      'attention.sliding_window': 32,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      'attention.key_length': 16,
    });
    expect(fit('granite', { logits_scaling: 8 }).get('logit_scale')).toBe(8);
    expect(fit('nemotron').get('rope.dimension_count')).toBe(8);
    expect(fit('nemotron').get('attention.layer_norm_epsilon')).toBe(1e-5);
  });

  it('has the context up to which a window that llama.cpp has not is none', () => {
    const { config } = languageModelConfig({ model_type: 'phi3', ...SIZES, sliding_window: 47 }, '/m/config.json');
    expect(windowOf(config, architectureOf('phi3')!, '/m')).toEqual({ positions: 47 });
    expect(fit('phi3', { sliding_window: 47 }).get('context_length')).toBe(47);
    expect(fit('phi3', { sliding_window: 4096 }).get('context_length')).toBe(128);
  });
});

describe('a network that it would compute otherwise is refused', () => {
  const rope = (type: string, more: Record<string, unknown>): Record<string, unknown> => ({
    rope_scaling: { rope_type: type, factor: 4, ...more },
  });
  const llama3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 };
  const experts = { num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 16 };

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['llama', rope('dynamic', {}), /rotary scaling dynamic/],
    ['qwen2', rope('llama3', llama3), /rotary scaling llama3/],
    ['llama', rope('yarn', { original_max_position_embeddings: 32, beta_fast: 16 }), /yarn with settings/],
    ['gemma2', { query_pre_attn_scalar: 20, head_dim: 16 }, /scale of scores/],
    ['gemma2', { query_pre_attn_scalar: 16, head_dim: 16, attn_logit_softcapping: 0 }, /soft-cap of scores/],
    ['gemma2', { query_pre_attn_scalar: 16, head_dim: 16, tie_word_embeddings: false }, /head of its own/],
    [
      'gemma3_text',
      { query_pre_attn_scalar: 16, head_dim: 16, sliding_window_pattern: 2 },
      /layer 1 \(standard\)|layers with a window/,
    ],
    ['cohere', { use_qk_norm: true }, /[Nn]orms of queries and keys/],
    ['olmo2', { attention_bias: true }, /bias of its attention/],
    ['smollm3', { no_rope_layer_interval: 2 }, /rotary embedding of layer 1/],
    ['llama', { hidden_act: 'gelu' }, /activation gelu/],
    ['falcon', { new_decoder_architecture: true, num_kv_heads: 2 }, /order of rows|norm/],
    ['falcon', { alibi: true }, /distance|rotary/],
    ['qwen2_moe', { ...experts, norm_topk_prob: true }, /router \(renormalise\)/],
    ['qwen3_moe', { ...experts, norm_topk_prob: true, mlp_only_layers: [1] }, /Layer 1 without experts/],
    ['gpt_oss', { num_local_experts: 4, swiglu_limit: 5 }, /router \(clampLimit\)/],
    ['glm4_moe', { n_routed_experts: 4, num_experts_per_tok: 2, n_group: 2, topk_group: 1 }, /router \(groups\)/],
  ])('%s with %j', (modelType, changes, message) => {
    expect(() => fit(modelType, changes)).toThrow(
      expect.objectContaining({
        code: 'unsupported-model',
        message: expect.stringMatching(message) as string,
      }) as Error,
    );
  });
});
