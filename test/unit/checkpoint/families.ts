import { elementCount, dtypeBits } from '../../../extension/core/dtypes';
import type { FormatSource } from '../../../extension/core/logical/formats/recogniser';
import type { TensorSpec } from '../../../extension/core/checkpoint/serialize';
import { compareNatural } from '../../../extension/core/checkpoint/order';
import type { TensorInfo } from '../../../extension/core/checkpoint/types';
import { bf16, f32 } from './containers';

/** What recognising sees of a checkpoint with these tensors, without a file. */
export function formatSource(specs: readonly TensorSpec[], more: Partial<FormatSource> = {}): FormatSource {
  let offset = 0;
  const tensors = specs.map((spec): TensorInfo => {
    const bytes = (elementCount(spec.shape) * dtypeBits(spec.dtype)) / 8;
    offset += bytes;
    return { ...spec, file: '/m/model.safetensors', offset: offset - bytes, bytes };
  });
  tensors.sort((a, b) => compareNatural(a.name, b.name));
  return {
    tensors,
    byName: new Map(tensors.map(tensor => [tensor.name, tensor])),
    shards: [],
    descriptors: new Map(),
    ...more,
  };
}

const blocks = (count: number, block: (i: number) => TensorSpec[]): TensorSpec[] =>
  Array.from({ length: count }, (_, i) => block(i)).flat();

/** Hidden 8, intermediate 12, vocabulary 16, two heads' worth of keys and values where grouped. */
const H = 8;
const I = 12;
const V = 16;

const gatedMlp = (path: string): TensorSpec[] => [
  bf16(`${path}.mlp.gate_proj.weight`, I, H),
  bf16(`${path}.mlp.up_proj.weight`, I, H),
  bf16(`${path}.mlp.down_proj.weight`, H, I),
];
const attention = (path: string, o = 'o_proj'): TensorSpec[] => [
  bf16(`${path}.self_attn.q_proj.weight`, H, H),
  bf16(`${path}.self_attn.k_proj.weight`, 4, H),
  bf16(`${path}.self_attn.v_proj.weight`, 4, H),
  bf16(`${path}.self_attn.${o}.weight`, H, H),
];
const norms = (path: string, ...names: string[]): TensorSpec[] => names.map(name => bf16(`${path}.${name}.weight`, H));
const outer = (head: boolean): TensorSpec[] => [
  bf16('model.embed_tokens.weight', V, H),
  bf16('model.norm.weight', H),
  ...(head ? [bf16('lm_head.weight', V, H)] : []),
];

export function llama(layers: number): TensorSpec[] {
  return [
    ...outer(true),
    ...blocks(layers, i => {
      const path = `model.layers.${i}`;
      return [
        ...attention(path),
        ...gatedMlp(path),
        ...norms(path, 'input_layernorm', 'post_attention_layernorm'),
        f32(`${path}.self_attn.rotary_emb.inv_freq`, 2),
      ];
    }),
  ];
}

export function qwen2(layers: number): TensorSpec[] {
  return [
    ...outer(false),
    ...blocks(layers, i => {
      const path = `model.layers.${i}`;
      return [
        ...attention(path),
        ...['q', 'k', 'v'].map(x => bf16(`${path}.self_attn.${x}_proj.bias`, x === 'q' ? H : 4)),
        ...gatedMlp(path),
        ...norms(path, 'input_layernorm', 'post_attention_layernorm'),
      ];
    }),
  ];
}

export function qwen3(layers: number): TensorSpec[] {
  return [
    ...outer(true),
    ...blocks(layers, i => {
      const path = `model.layers.${i}`;
      return [
        ...attention(path),
        bf16(`${path}.self_attn.q_norm.weight`, 4),
        bf16(`${path}.self_attn.k_norm.weight`, 4),
        ...gatedMlp(path),
        ...norms(path, 'input_layernorm', 'post_attention_layernorm'),
      ];
    }),
  ];
}

export function gemma2(layers: number): TensorSpec[] {
  const four = [
    'input_layernorm',
    'post_attention_layernorm',
    'pre_feedforward_layernorm',
    'post_feedforward_layernorm',
  ];
  return [
    ...outer(false),
    ...blocks(layers, i => {
      const path = `model.layers.${i}`;
      return [...attention(path), ...gatedMlp(path), ...norms(path, ...four)];
    }),
  ];
}

export function phi3(layers: number): TensorSpec[] {
  return [
    ...outer(true),
    ...blocks(layers, i => {
      const path = `model.layers.${i}`;
      return [
        bf16(`${path}.self_attn.qkv_proj.weight`, H + 8, H),
        bf16(`${path}.self_attn.o_proj.weight`, H, H),
        bf16(`${path}.mlp.gate_up_proj.weight`, 2 * I, H),
        bf16(`${path}.mlp.down_proj.weight`, H, I),
        ...norms(path, 'input_layernorm', 'post_attention_layernorm'),
      ];
    }),
  ];
}

export function phi2(layers: number): TensorSpec[] {
  return [
    bf16('model.embed_tokens.weight', V, H),
    bf16('model.final_layernorm.weight', H),
    bf16('model.final_layernorm.bias', H),
    bf16('lm_head.weight', V, H),
    bf16('lm_head.bias', V),
    ...blocks(layers, i => {
      const path = `model.layers.${i}`;
      return [
        ...attention(path, 'dense'),
        bf16(`${path}.self_attn.dense.bias`, H),
        bf16(`${path}.mlp.fc1.weight`, I, H),
        bf16(`${path}.mlp.fc1.bias`, I),
        bf16(`${path}.mlp.fc2.weight`, H, I),
        bf16(`${path}.mlp.fc2.bias`, H),
        bf16(`${path}.input_layernorm.weight`, H),
        bf16(`${path}.input_layernorm.bias`, H),
      ];
    }),
  ];
}

export function gpt2(layers: number): TensorSpec[] {
  return [
    f32('wte.weight', V, H),
    f32('wpe.weight', 32, H),
    f32('ln_f.weight', H),
    f32('ln_f.bias', H),
    ...blocks(layers, i => {
      const path = `h.${i}`;
      return [
        f32(`${path}.attn.bias`, 1, 1, 32, 32),
        f32(`${path}.attn.c_attn.weight`, H, 3 * H),
        f32(`${path}.attn.c_attn.bias`, 3 * H),
        f32(`${path}.attn.c_proj.weight`, H, H),
        f32(`${path}.attn.c_proj.bias`, H),
        f32(`${path}.mlp.c_fc.weight`, H, 4 * H),
        f32(`${path}.mlp.c_fc.bias`, 4 * H),
        f32(`${path}.mlp.c_proj.weight`, 4 * H, H),
        f32(`${path}.mlp.c_proj.bias`, H),
        f32(`${path}.ln_1.weight`, H),
        f32(`${path}.ln_1.bias`, H),
        f32(`${path}.ln_2.weight`, H),
        f32(`${path}.ln_2.bias`, H),
      ];
    }),
  ];
}

/** Both BERT and RoBERTa: they differ in the prefix and in the head. */
export function bert(layers: number, prefix: 'bert' | 'roberta'): TensorSpec[] {
  const linear = (path: string, out: number, inputs: number): TensorSpec[] => [
    f32(`${path}.weight`, out, inputs),
    f32(`${path}.bias`, out),
  ];
  const norm = (path: string): TensorSpec[] => [f32(`${path}.weight`, H), f32(`${path}.bias`, H)];
  const head =
    prefix === 'bert'
      ? [
          f32('cls.predictions.bias', V),
          ...linear('cls.predictions.transform.dense', H, H),
          ...norm('cls.predictions.transform.LayerNorm'),
          ...linear('bert.pooler.dense', H, H),
        ]
      : [f32('lm_head.bias', V), ...linear('lm_head.dense', H, H), ...norm('lm_head.layer_norm')];
  return [
    f32(`${prefix}.embeddings.word_embeddings.weight`, V, H),
    f32(`${prefix}.embeddings.position_embeddings.weight`, 32, H),
    f32(`${prefix}.embeddings.token_type_embeddings.weight`, 2, H),
    ...norm(`${prefix}.embeddings.LayerNorm`),
    ...head,
    ...blocks(layers, i => {
      const path = `${prefix}.encoder.layer.${i}`;
      return [
        ...['query', 'key', 'value'].flatMap(x => linear(`${path}.attention.self.${x}`, H, H)),
        ...linear(`${path}.attention.output.dense`, H, H),
        ...norm(`${path}.attention.output.LayerNorm`),
        ...linear(`${path}.intermediate.dense`, I, H),
        ...linear(`${path}.output.dense`, H, I),
        ...norm(`${path}.output.LayerNorm`),
      ];
    }),
  ];
}
