import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { languageModelConfig } from '../../../extension/core/evaluation/architecture';
import { modelWeights } from '../../../extension/core/evaluation/weights';
import type { WeightSource } from '../../../extension/core/native';

const base = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  num_hidden_layers: 2,
  hidden_size: 64,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  vocab_size: 50,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
};
const read = (changes: Record<string, unknown>, context?: number) =>
  languageModelConfig({ ...base, ...changes }, 'config.json', context);
const parse = (changes: Record<string, unknown>) => read(changes).config;

const BASE_TEXT = {
  num_hidden_layers: 2,
  hidden_size: 64,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  intermediate_size: 96,
  vocab_size: 50,
  max_position_embeddings: 64,
};

describe('the architecture in config.json', () => {
  it('reads the sample checkpoint', () => {
    const config: unknown = JSON.parse(readFileSync('media/sample/tiny-books-4m/config.json', 'utf8'));
    expect(languageModelConfig(config as Record<string, unknown>, 'config.json', 512)).toEqual({
      warnings: [],
      masked: false,
      config: {
        layers: 4,
        hidden: 256,
        heads: 8,
        kvHeads: 4,
        headDim: 32,
        intermediate: 688,
        vocab: 2048,
        maxPositions: 512,
        rmsEps: 1e-5,
        ropeTheta: 10_000,
        rope: { type: 'default' },
        slidingWindow: 0,
        attentionBias: false,
        outputBias: false,
        mlpBias: false,
        qkNorm: false,
        tiedEmbeddings: false,
      },
    });
  });

  it('knows what the families differ in', () => {
    expect(parse({ attention_bias: true, mlp_bias: true })).toMatchObject({
      attentionBias: true,
      outputBias: true,
      mlpBias: true,
    });
    expect(parse({ model_type: 'mistral', sliding_window: 32 })).toMatchObject({ slidingWindow: 32 });
    expect(parse({ model_type: 'mistral', sliding_window: null })).toMatchObject({ slidingWindow: 0 });
    expect(parse({ model_type: 'qwen2', sliding_window: 32, use_sliding_window: false })).toMatchObject({
      attentionBias: true,
      outputBias: false,
      slidingWindow: 0,
    });
    expect(
      parse({ model_type: 'qwen2', sliding_window: 32, use_sliding_window: true, max_window_layers: 0 }),
    ).toMatchObject({ slidingWindow: 32 });
    expect(parse({ model_type: 'qwen3', tie_word_embeddings: true })).toMatchObject({
      qkNorm: true,
      headDim: 128,
      tiedEmbeddings: true,
    });
  });

  it('reads the text part of a model for images, with what the outer configuration says of it', () => {
    const text = { ...BASE_TEXT, model_type: 'mistral', head_dim: 16 };
    const nested = languageModelConfig(
      { model_type: 'mistral3', text_config: text, vision_config: {}, tie_word_embeddings: true },
      'config.json',
    );
    expect(nested.config).toMatchObject({ layers: 2, hidden: 64, headDim: 16, tiedEmbeddings: true });
    expect(nested.warnings).toEqual([]);
    expect(languageModelConfig({ model_type: 'llava', text_config: BASE_TEXT }, 'f').config).toMatchObject({
      layers: 2,
    });
    expect(() => languageModelConfig({ model_type: 'x', text_config: { ...text, model_type: 'mamba2' } }, 'f')).toThrow(
      expect.objectContaining({ code: 'unsupported-model' }),
    );
  });

  it('reads the names and defaults of older families', () => {
    const gpt2 = { model_type: 'gpt2', n_embd: 48, n_layer: 3, n_head: 4, n_positions: 64, vocab_size: 50 };
    expect(languageModelConfig(gpt2, 'f').config).toMatchObject({
      hidden: 48,
      kvHeads: 4,
      intermediate: 192,
      activation: 'gelu_tanh',
      fusedQkv: 'stacked',
      embedding: { positions: 64 },
      tiedEmbeddings: true,
    });
    expect(() => languageModelConfig(gpt2, 'f', 65)).toThrow(/64 learned positions/);
    expect(languageModelConfig({ ...BASE_TEXT, model_type: 'roberta', pad_token_id: 1 }, 'f', 62).masked).toBe(true);
    expect(() => languageModelConfig({ ...BASE_TEXT, model_type: 'roberta', pad_token_id: 1 }, 'f', 63)).toThrow(
      /62 learned positions/,
    );
  });

  it('reads rotary scalings in the form of either transformers', () => {
    expect(parse({ rope_theta: 5e5, rope_scaling: { type: 'linear', factor: 4 } })).toMatchObject({
      ropeTheta: 5e5,
      rope: { type: 'linear', factor: 4 },
    });
    const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
    expect(parse({ rope_parameters: { rope_type: 'llama3', rope_theta: 5e5, ...llama3 } })).toMatchObject({
      ropeTheta: 5e5,
      rope: { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64 },
    });
    expect(parse({ rope_parameters: { rope_type: 'yarn', factor: 2, truncate: false } }).rope.exact).toBe(true);
    const yarn = parse({ rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 } });
    expect(yarn.rope).toEqual({
      type: 'yarn',
      factor: 4,
      originalMaxPositions: 32,
      attentionFactor: 0.1 * Math.log(4) + 1,
      betaFast: 32,
      betaSlow: 1,
    });
  });

  it.each([
    [{ model_type: 'mamba2', architectures: ['Mamba2ForCausalLM'] }, /Mamba2ForCausalLM/],
    [{ model_type: 'constructor', architectures: undefined }, /constructor/],
    [{ hidden_act: 'mish' }, /mish/],
    [{ model_type: 'gemma', use_bidirectional_attention: true }, /use_bidirectional_attention/],
    [{ model_type: 'stablelm', qk_layernorm: true }, /qk_layernorm/],
    [{ model_type: 'mpt', attn_config: { alibi_bias_max: 4 } }, /alibi_bias_max/],
    [{ model_type: 'bloom', apply_residual_connection_post_layernorm: true }, /apply_residual_connection/],
    [{ model_type: 'gpt2', scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    [{ model_type: 'bert', position_embedding_type: 'relative_key' }, /relative_key/],
    [{ model_type: 'bert', is_decoder: true }, /is_decoder/],
    [{ model_type: 'stablelm', partial_rotary_factor: 0.2 }, /3 dimensions/],
    [{ model_type: 'smollm3', no_rope_layers: [1] }, /no_rope_layers names 1/],
    [{ rope_scaling: { rope_type: 'longrope' } }, /longrope/],
    [{ rope_scaling: { rope_type: 'llama3', factor: 8 } }, /rope_scaling.low_freq_factor/],
    [{ rope_parameters: { full_attention: { rope_type: 'default' } } }, /each type of layer/],
    [{ is_causal: false }, /is_causal/],
    [{ hidden_act: null }, /hidden_act.*null/],
    [{ model_type: 'qwen3', head_dim: null }, /head_dim.*null/],
    [{ per_layer_config: { 0: { head_dim: 8 } } }, /per_layer_config/],
    [{ configuration_files: ['config.4.0.0.json'] }, /configuration_files/],
    [{ num_hidden_layers: 1.5 }, /num_hidden_layers.*1\.5/],
    [{ model_type: 'mistral', layer_types: ['chunked_attention', 'full_attention'] }, /chunked_attention/],
    [{ model_type: 'mistral', layer_types: ['full_attention'] }, /names 1 layers/],
    [{ model_type: 'qwen2', layer_types: ['sliding_attention', 'sliding_attention'] }, /no window is in use/],
    [{ partial_rotary_factor: 0.5 }, /0\.5 of each head/],
    [{ rope_parameters: { rope_type: 'default', llama_4_scaling_beta: 0.1 } }, /llama_4_scaling_beta/],
    [{ quantization_config: { quant_method: 'gptq' } }, /gptq/],
    [{ num_key_value_heads: 3 }, /4 attention heads/],
    [{ model_type: 'deepseek_v3', architectures: ['DeepseekV3ForCausalLM'] }, /DeepseekV3.*multi-head latent/],
    [{ model_type: 'qwen3_next' }, /gated delta rule/],
    [{ model_type: 'gemma3n', text_config: { model_type: 'gemma3n_text' } }, /AltUp/],
    [{ model_type: 'ernie4_5_moe', moe_norm_min: 0.1 }, /moe_norm_min/],
    [{ hidden_size: undefined }, /hidden_size/],
    [{ vocab_size: '50' }, /vocab_size.*"50"/],
    [{ tie_word_embeddings: 1 }, /tie_word_embeddings/],
  ])('refuses %j by name', (changes, message) => {
    const refusal = expect.objectContaining({
      code: 'unsupported-model',
      file: 'config.json',
      message: expect.stringMatching(message),
    });
    expect(() => parse(changes)).toThrow(refusal);
  });

  // transformers 5.24: convert_rope_params_to_dict and standardize_rope_params in modeling_rope_utils.py.
  it('lets rope_scaling replace rope_parameters, and says so', () => {
    const both = {
      rope_parameters: { rope_type: 'default', rope_theta: 1e6 },
      rope_scaling: { rope_type: 'linear', factor: 4 },
    };
    expect(read(both)).toMatchObject({
      config: { ropeTheta: 1e4, rope: { type: 'linear', factor: 4 } },
      warnings: [expect.stringContaining('rope_scaling was used')],
    });
    expect(parse({ ...both, rope_theta: 5e5 })).toMatchObject({ ropeTheta: 5e5 });
    expect(parse({ ...both, rope_scaling: {} })).toMatchObject({ ropeTheta: 1e6, rope: { type: 'default' } });
  });

  it("takes the length before scaling from the model's own field, the scaling's, or the model's length", () => {
    const llama3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const original = (changes: object) => parse({ rope_scaling: llama3, ...changes }).rope.originalMaxPositions;
    expect(original({})).toBe(128);
    const own = { rope_scaling: { ...llama3, original_max_position_embeddings: 32 } };
    expect(original(own)).toBe(32);
    expect(original({ ...own, original_max_position_embeddings: 64 })).toBe(64);
  });

  it('reads the windows of layers, with the defaults of transformers', () => {
    const window = (changes: Record<string, unknown>, context?: number) => read(changes, context).config.slidingWindow;
    const alternating = { sliding_window: 32, layer_types: ['full_attention', 'sliding_attention'] };
    expect(window({ model_type: 'mistral' })).toBe(4096);
    expect(
      window({ model_type: 'mistral', sliding_window: 32, layer_types: ['full_attention', 'full_attention'] }),
    ).toBe(0);
    expect(window({ model_type: 'mistral', ...alternating }, 32)).toBe(0);
    const byLayer = [
      { window: 0, rotary: 'standard' },
      { window: 32, rotary: 'standard' },
    ];
    expect(read({ model_type: 'mistral', ...alternating }, 33).config).toMatchObject({ layerTraits: byLayer });
    const first = { use_sliding_window: true, sliding_window: 32, max_window_layers: 1 };
    expect(read({ model_type: 'qwen2', ...first }, 33).config).toMatchObject({ layerTraits: byLayer });
    expect(window({ model_type: 'qwen3', use_sliding_window: true, sliding_window: 32 })).toBe(0);
    expect(window({ model_type: 'llama', sliding_window: 32 })).toBe(0);
  });

  it('reads the rotation of layers, by type and by layer', () => {
    const gemma3 = parse({
      model_type: 'gemma3_text',
      sliding_window: 8,
      layer_types: ['sliding_attention', 'full_attention'],
      rope_parameters: {
        full_attention: { rope_type: 'linear', rope_theta: 3e5, factor: 8 },
        sliding_attention: { rope_type: 'default', rope_theta: 1e3 },
      },
    });
    expect(gemma3).toMatchObject({ ropeTheta: 3e5, ropeLocalTheta: 1e3, rope: { type: 'linear', factor: 8 } });
    expect(gemma3.layerTraits!.map(({ rotary }) => rotary)).toEqual(['local', 'standard']);
    // As transformers 4 wrote it.
    const before = { rope_theta: 3e5, rope_local_base_freq: 2e3, rope_scaling: { rope_type: 'linear', factor: 8 } };
    expect(parse({ model_type: 'gemma3_text', sliding_window_pattern: 2, ...before })).toMatchObject({
      ropeTheta: 3e5,
      ropeLocalTheta: 2e3,
      rope: { type: 'linear', factor: 8 },
    });
    const turned = parse({ model_type: 'smollm3', no_rope_layers: [1, 0] });
    expect(turned.layerTraits!.map(({ rotary }) => rotary)).toEqual(['standard', 'none']);
    expect(parse({ model_type: 'stablelm' })).toMatchObject({ rotaryDim: 4, norm: 'layer' });
  });

  it('takes a null number of key-value heads for that of query heads where the family does', () => {
    expect(parse({ model_type: 'qwen2', num_key_value_heads: null }).kvHeads).toBe(4);
    expect(() => parse({ model_type: 'qwen2', num_key_value_heads: undefined })).toThrow(/num_key_value_heads/);
    expect(() => parse({ model_type: 'mistral', num_key_value_heads: null })).toThrow(/num_key_value_heads/);
    expect(parse({ num_key_value_heads: undefined }).kvHeads).toBe(4);
  });

  it('warns of keys it does not know, code it does not run, and contexts that are too long', () => {
    expect(read({ torch_dtype: 'bfloat16', use_cache: true, initializer_range: 0.02 }, 128).warnings).toEqual([]);
    expect(read({ logit_scale: 0.5, attn_logit_softcapping: 50, rope_interleaved: null }).warnings).toEqual([
      expect.stringMatching(/logit_scale, attn_logit_softcapping\.$/),
    ]);
    expect(read({ sliding_window: 8 }).warnings).toEqual([expect.stringContaining('sliding_window')]);
    expect(read({ rope_scaling: { type: 'linear', factor: 2, attn_factor: 3 } }).warnings).toEqual([
      expect.stringContaining('attn_factor'),
    ]);
    expect(read({ auto_map: { AutoModelForCausalLM: 'modeling_x.X' } }).warnings).toEqual([
      expect.stringContaining('auto_map'),
    ]);
    expect(read({}, 129).warnings).toEqual([expect.stringContaining('max_position_embeddings of 128')]);
  });

  it('refuses a checkpoint without config.json', () => {
    expect(() => languageModelConfig(undefined, 'f/config.json')).toThrow(
      expect.objectContaining({ code: 'unsupported-model', file: 'f/config.json' }),
    );
  });
});

describe('the weights of a model', () => {
  const config = parse({ model_type: 'qwen2', tie_word_embeddings: true });
  const shapes: Record<string, [number, number]> = {
    'model.embed_tokens.weight': [50, 64],
    'model.norm.weight': [1, 64],
  };
  for (const layer of [0, 1]) {
    const add = (name: string, rows: number, cols: number) => (shapes[`model.layers.${layer}.${name}`] = [rows, cols]);
    add('input_layernorm.weight', 1, 64);
    add('post_attention_layernorm.weight', 1, 64);
    add('self_attn.q_proj.weight', 64, 64);
    add('self_attn.q_proj.bias', 1, 64);
    add('self_attn.k_proj.weight', 32, 64);
    add('self_attn.k_proj.bias', 1, 32);
    add('self_attn.v_proj.weight', 32, 64);
    add('self_attn.v_proj.bias', 1, 32);
    add('self_attn.o_proj.weight', 64, 64);
    add('mlp.gate_proj.weight', 96, 64);
    add('mlp.up_proj.weight', 96, 64);
    add('mlp.down_proj.weight', 64, 96);
  }
  const lookup = (known: typeof shapes) => (name: string) => {
    const shape = known[name];
    const source: WeightSource | undefined = shape && {
      kind: 'dense',
      path: 'f',
      offset: 0,
      dtype: 'F32',
      rows: shape[0],
      cols: shape[1],
    };
    return source;
  };

  it('are all found, and no others', () => {
    const weights = modelWeights(config, lookup(shapes), 'f');
    expect(weights.map(weight => weight.name).sort()).toEqual(Object.keys(shapes).sort());
    expect(weights.find(weight => weight.name === 'model.layers.1.self_attn.k_proj.bias')).toMatchObject({
      layer: 1,
      kind: 'k_bias',
    });
  });

  it.each(['', 'model.language_model.', 'language_model.model.'])('are found under the prefix "%s"', prefix => {
    const renamed = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name.replace(/^model\./, prefix), shape]),
    );
    const weights = modelWeights(config, lookup(renamed), 'f');
    expect(weights.map(weight => weight.name).sort()).toEqual(Object.keys(renamed).sort());
  });

  it('include a head of another name', () => {
    const known = { ...shapes, 'language_model.lm_head.weight': [50, 64] as [number, number] };
    const weights = modelWeights({ ...config, tiedEmbeddings: false }, lookup(known), 'f');
    expect(weights.find(weight => weight.kind === 'head')?.name).toBe('language_model.lm_head.weight');
  });

  it('are missed by name', () => {
    const { 'model.layers.1.mlp.up_proj.weight': _, ...rest } = shapes;
    expect(() => modelWeights(config, lookup(rest), 'f')).toThrow(
      expect.objectContaining({ code: 'tensor-not-found', file: 'f', tensor: 'model.layers.1.mlp.up_proj.weight' }),
    );
  });

  it('are refused in another shape', () => {
    const wrong = { ...shapes, 'model.norm.weight': [1, 65] as [number, number] };
    expect(() => modelWeights(config, lookup(wrong), 'f')).toThrow(
      expect.objectContaining({ code: 'unsupported-model', tensor: 'model.norm.weight' }),
    );
  });
});
