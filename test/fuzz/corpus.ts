/** Small checkpoints of every kind that opening tells apart: what mutation starts from. */
import { serializeGguf, type GgufField, type GgufTensorSpec } from '../../extension/core/checkpoint/gguf/serialize';
import { serializeHeader, serializeIndex, type TensorSpec } from '../../extension/core/checkpoint/serialize';

import { paperOption } from '../../extension/core/options/config';
import { describeShard, matrixParts, shardMetadata, type MatrixDescription } from '../../extension/core/packed/format';

/** Files by path; everything is under /m. */
export type Folder = Readonly<Record<string, Uint8Array>>;

const text = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));

function file(tensors: readonly TensorSpec[], metadata?: Record<string, string>): Uint8Array {
  const header = serializeHeader(tensors, metadata);
  const bytes = new Uint8Array(header.fileBytes);
  bytes.set(header.bytes);
  return bytes;
}

const P = 'model.layers.0.self_attn.q_proj';
const of = (dtype: TensorSpec['dtype'], name: string, ...shape: number[]): TensorSpec => ({ name, dtype, shape });
const block = (i: number): TensorSpec[] => [
  of('BF16', `model.layers.${i}.self_attn.q_proj.weight`, 8, 8),
  of('BF16', `model.layers.${i}.mlp.down_proj.weight`, 8, 16),
  of('F32', `model.layers.${i}.input_layernorm.weight`, 8),
];
const llama = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 32,
  rms_norm_eps: 1e-5,
  rope_parameters: { rope_type: 'default', rope_theta: 10000.0 },
  tie_word_embeddings: true,
};
const quantized = (method: string, more: object = {}): Uint8Array =>
  text({ ...llama, quantization_config: { quant_method: method, ...more } });

const shards = [
  { file: 'model-00001-of-00002.safetensors', tensors: block(0), bytes: 0 },
  { file: 'model-00002-of-00002.safetensors', tensors: [...block(1), of('BF16', 'model.norm.weight', 8)], bytes: 0 },
];

/** Two matrices in our own format, with and without low-rank factors. */
function packed(): Uint8Array {
  const matrix = (rank: number): MatrixDescription => ({
    dtype: 'BF16',
    shape: [24, 40],
    option: paperOption({ b0: 3, b1: 8, b2: 'fp32', B0: 64, B1: 256 }, rank),
  });
  const matrices = new Map([
    ['model.layers.0.mlp.up_proj.weight', matrix(4)],
    ['model.layers.1.mlp.up_proj.weight', matrix(0)],
  ]);
  const parts = [...matrices].flatMap(([name, description]) => matrixParts(name, description, 'nf8'));
  return file(parts, shardMetadata(describeShard(matrices, 'nf8', 0)));
}

/** A GGUF file with keys of every type, a tokenizer and tensors of several types; with data of zeros. */
function gguf(more: Record<string, GgufField> = {}, others: readonly GgufTensorSpec[] = []): Uint8Array {
  const count = (value: number): GgufField => ({ type: 'u32', value });
  const fields: Record<string, GgufField> = {
    'general.architecture': { type: 'string', value: 'llama' },
    'general.alignment': count(32),
    'llama.embedding_length': count(256),
    'llama.block_count': count(1),
    'llama.feed_forward_length': count(256),
    'llama.attention.head_count': count(4),
    'llama.attention.head_count_kv': count(2),
    'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    'llama.context_length': { type: 'u64', value: 512 },
    'llama.rope.freq_base': { type: 'f32', value: 1e4 },
    'llama.expert_used_count': { type: 'u16', value: 0 },
    'tokenizer.ggml.model': { type: 'string', value: 'llama' },
    'tokenizer.ggml.tokens': { type: 'strings', value: ['<unk>', '<s>', '▁', 'a', '▁a', 'é😀'] },
    'tokenizer.ggml.scores': { type: 'f32s', value: [0, 0, -1, -2, -3, -4] },
    'tokenizer.ggml.token_type': { type: 'i32s', value: [2, 3, 1, 1, 1, 4] },
    'tokenizer.ggml.bos_token_id': count(1),
    'tokenizer.ggml.unknown_token_id': count(0),
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
    ...more,
  };
  const header = serializeGguf(new Map(Object.entries(fields)), [
    { name: 'token_embd.weight', type: 'Q8_0', shape: [6, 256] },
    { name: 'output_norm.weight', type: 'F32', shape: [256] },
    { name: 'blk.0.attn_q.weight', type: 'Q4_K', shape: [256, 256] },
    { name: 'blk.0.attn_k.weight', type: 'IQ2_XXS', shape: [128, 256] },
    { name: 'blk.0.ffn_gate_exps.weight', type: 'BF16', shape: [2, 4, 256] },
    { name: 'rope_freqs.weight', type: 'F32', shape: [32] },
    ...others,
  ]);
  const bytes = new Uint8Array(header.fileBytes);
  bytes.set(header.bytes);
  return bytes;
}
const part = (no: number): Uint8Array =>
  gguf({ 'split.no': { type: 'u16', value: no }, 'split.count': { type: 'u16', value: 2 } });

export const CORPUS: Readonly<Record<string, Folder>> = {
  plain: {
    '/m/model.safetensors': file([...block(0), ...block(1), of('U8', 'empty', 0, 4), of('F64', 'scalar')], {
      format: 'pt',
    }),
    '/m/config.json': text(llama),
  },
  sharded: {
    '/m/model.safetensors.index.json': text(serializeIndex(shards)),
    ...Object.fromEntries(shards.map(shard => [`/m/${shard.file}`, file(shard.tensors)])),
    '/m/config.json': text({ ...llama, time_step_limit: [0, 1] }).map(byte => byte),
  },
  'shards by name': Object.fromEntries(shards.map(shard => [`/m/${shard.file}`, file(shard.tensors)])),
  gptq: {
    '/m/model.safetensors': file([
      of('I32', `${P}.qweight`, 8, 16),
      of('I32', `${P}.qzeros`, 2, 2),
      of('F16', `${P}.scales`, 2, 16),
      of('I32', `${P}.g_idx`, 64),
    ]),
    '/m/config.json': quantized('gptq', { bits: 4, group_size: 32 }),
  },
  packed: {
    '/m/model.safetensors': file([
      of('I32', `${P}.weight_packed`, 16, 8),
      of('BF16', `${P}.weight_scale`, 16, 2),
      of('I64', `${P}.weight_shape`, 2),
      of('U8', `${P}.bitmask`, 16, 8),
      of('BF16', `${P}.compressed`, 16, 32),
      of('I64', `${P}.shape`, 2),
    ]),
    '/m/config.json': quantized('compressed-tensors', {
      config_groups: { a: { targets: ['re:.*q_proj', 'Linear'], weights: { num_bits: 4, group_size: 32 } } },
    }),
  },
  scaled: {
    '/m/model.safetensors': file([
      of('F8_E4M3', `${P}.weight`, 16, 32),
      of('F32', `${P}.weight_scale_inv`, 1, 1),
      of('U8', 'a.weight', 16, 16),
      of('F8_E4M3', 'a.weight_scale', 16, 2),
      of('I8', 'b.weight', 16, 16),
      of('F32', 'b.SCB', 16),
      of('U8', 'e.experts_blocks', 2, 4, 2, 16),
      of('U8', 'e.experts_scales', 2, 4, 2),
    ]),
    '/m/config.json': quantized('fp8', { weight_block_size: [128, 128] }),
  },
  others: {
    '/m/model.safetensors': file([
      of('U32', 'm.weight', 16, 8),
      of('BF16', 'm.scales', 16, 1),
      of('BF16', 'm.biases', 16, 1),
      of('I16', 't.trellis', 2, 2, 48),
      of('I32', 'x.q_weight', 8, 16),
      of('I32', 'x.q_scale', 2, 2),
      of('I16', 'x.q_invperm', 64),
      of('U8', 'h.W_q', 16, 8),
      of('F16', 'h.scale', 32, 1),
      of('I64', 'h.shape', 2),
      of('I16', 'q.codes', 16, 4, 1),
      of('F16', 'q.codebooks', 1, 256, 1, 8),
      of('I8', 'k.weight._data', 4, 4),
      of('F32', 'k.weight._scale', 4, 1),
    ]),
    '/m/config.json': text({ ...llama, quantization: { group_size: 64, bits: 4, m: { bits: 4, group_size: 64 } } }),
  },
  'our own': { '/m/model.safetensors': packed(), '/m/config.json': text(llama) },
  adapter: {
    '/m/adapter_model.safetensors': file(
      [
        of('F16', `base_model.model.${P}.lora_A.weight`, 4, 16),
        of('F16', `base_model.model.${P}.lora_B.weight`, 8, 4),
        of('F32', 'u.lora_down.weight', 4, 16),
        of('F32', 'u.lora_up.weight', 8, 4),
        of('F32', 'u.alpha'),
        of('F32', 'l.hada_w1_a', 8, 2),
        of('F32', 'l.hada_w1_b', 2, 16),
        of('F32', 'l.hada_w2_a', 8, 2),
        of('F32', 'l.hada_w2_b', 2, 16),
      ],
      { ss_network_alpha: '4' },
    ),
    '/m/adapter_config.json': text({
      r: 4,
      lora_alpha: 8,
      alpha_pattern: { 'layers\\.[0-9]+': 16 },
      target_parameters: ['a.b'],
    }),
  },
  gguf: { '/m/model.gguf': gguf() },
  'gguf with byte-level tokens': {
    '/m/model.gguf': gguf({
      'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
      'tokenizer.ggml.pre': { type: 'string', value: 'llama-bpe' },
      'tokenizer.ggml.tokens': { type: 'strings', value: ['a', 'b', 'ab', 'Ġ', 'Ġa', '<s>'] },
      'tokenizer.ggml.merges': { type: 'strings', value: ['a b', 'Ġ a'] },
    }),
  },
  'gguf adapter': {
    '/m/model.gguf': gguf({ 'general.type': { type: 'string', value: 'adapter' } }, [
      { name: 'blk.0.attn_q.weight.lora_a', type: 'F32', shape: [8, 256] },
      { name: 'blk.0.attn_q.weight.lora_b', type: 'F32', shape: [256, 8] },
    ]),
  },
  'split gguf': { '/m/m-00001-of-00002.gguf': part(0), '/m/m-00002-of-00002.gguf': part(1) },
  hub: {
    '/m/models--org--name/refs/main': text('abcd'),
    '/m/models--org--name/snapshots/abcd/model.safetensors': file(block(0)),
    '/m/models--org--name/snapshots/abcd/config.json': text(llama),
  },
};

/** What is opened in a folder. */
export const openedPath = (kind: string): string => (kind === 'hub' ? '/m/models--org--name' : '/m');
