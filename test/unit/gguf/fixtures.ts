/** Small GGUF files made by our writer, with data of zeros. */
import { serializeGguf, type GgufField, type GgufTensorSpec } from '../../../extension/core/checkpoint/gguf/serialize';

const fields = (more: Record<string, GgufField> = {}): Map<string, GgufField> =>
  new Map<string, GgufField>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['llama.embedding_length', { type: 'u32', value: 256 }],
    ['llama.block_count', { type: 'u32', value: 1 }],
    ['llama.feed_forward_length', { type: 'u32', value: 512 }],
    ['llama.attention.head_count', { type: 'u32', value: 4 }],
    ['llama.attention.head_count_kv', { type: 'u32', value: 2 }],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ['llama.context_length', { type: 'u32', value: 512 }],
    ['llama.rope.dimension_count', { type: 'u32', value: 64 }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: ['a', 'b', '<s>', 'é😀'] }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: [0, -1, 0, -2] }],
    ...Object.entries(more),
  ]);

const tensors: readonly GgufTensorSpec[] = [
  { name: 'token_embd.weight', type: 'Q6_K', shape: [8, 256] },
  { name: 'output_norm.weight', type: 'F32', shape: [256] },
  { name: 'blk.0.attn_q.weight', type: 'Q4_K', shape: [256, 256] },
  { name: 'blk.0.attn_k.weight', type: 'IQ2_XXS', shape: [128, 256] },
  { name: 'blk.0.ffn_down.weight', type: 'Q8_0', shape: [256, 512] },
];

export function ggufFile(more: Record<string, GgufField> = {}, specs: readonly GgufTensorSpec[] = tensors): Uint8Array {
  const header = serializeGguf(fields(more), specs);
  const file = new Uint8Array(header.fileBytes);
  file.set(header.bytes);
  return file;
}
