/** books-20m, the larger model of the tests: the trained one where it lies on this machine, otherwise one of its shape. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { serializeHeader, type TensorSpec } from '../../extension/core/checkpoint/serialize';
import { repository, sampleModel } from './server';

/** Folder of trained models: `LQ_MODELS`, or what lies beside the checkout. */
const models = process.env['LQ_MODELS'] ?? path.join(repository, '..', 'shared', 'models');

const hidden = 384;
const intermediate = 1024;
const layers = 8;
const vocabulary = 8192;

export const books = { name: 'books-20m', layers, matrices: 7 * layers };

/** Puts books-20m into a workspace, trained or with random weights: what tests may rely on is the same. */
export function writeBooks(workspace: string): void {
  const folder = path.join(workspace, books.name);
  mkdirSync(folder);
  const trained = path.join(models, books.name);
  if (existsSync(trained)) copyWritable(trained, folder);
  else generate(folder);
}

/** Shared models are read-only, and a workspace has to be removed again. */
function copyWritable(from: string, to: string): void {
  for (const name of readdirSync(from)) {
    copyFileSync(path.join(from, name), path.join(to, name));
    chmodSync(path.join(to, name), 0o644);
  }
}

function generate(folder: string): void {
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    dtype: 'bfloat16',
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: 6,
    num_key_value_heads: 6,
    head_dim: 64,
    vocab_size: vocabulary,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
    bos_token_id: 0,
    eos_token_id: 1,
  };
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config, null, 2));
  // A smaller vocabulary than the model's: its tokens are among the model's.
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    copyFileSync(path.join(sampleModel, name), path.join(folder, name));
  }
  const all = tensors();
  const shards = [all.slice(0, all.length / 3), all.slice(all.length / 3, (2 * all.length) / 3)];
  shards.push(all.slice(shards[0]!.length + shards[1]!.length));
  const weightMap: Record<string, string> = {};
  let totalSize = 0;
  for (const [index, shard] of shards.entries()) {
    const name = `model-0000${index + 1}-of-0000${shards.length}.safetensors`;
    const header = serializeHeader(shard, { format: 'pt' });
    const data = Buffer.concat(shard.map(values));
    writeFileSync(path.join(folder, name), Buffer.concat([header.bytes, data]));
    for (const tensor of shard) weightMap[tensor.name] = name;
    totalSize += data.length;
  }
  const index = { metadata: { total_size: totalSize }, weight_map: weightMap };
  writeFileSync(path.join(folder, 'model.safetensors.index.json'), JSON.stringify(index, null, 2));
}

function tensors(): TensorSpec[] {
  const bf16 = (name: string, ...shape: number[]): TensorSpec => ({ name: `${name}.weight`, dtype: 'BF16', shape });
  const block = (layer: number): TensorSpec[] => {
    const of = (name: string, ...shape: number[]) => bf16(`model.layers.${layer}.${name}`, ...shape);
    return [
      of('input_layernorm', hidden),
      ...['q', 'k', 'v', 'o'].map(each => of(`self_attn.${each}_proj`, hidden, hidden)),
      of('post_attention_layernorm', hidden),
      of('mlp.gate_proj', intermediate, hidden),
      of('mlp.up_proj', intermediate, hidden),
      of('mlp.down_proj', hidden, intermediate),
    ];
  };
  return [
    bf16('model.embed_tokens', vocabulary, hidden),
    ...Array.from({ length: layers }, (_, layer) => block(layer)).flat(),
    bf16('model.norm', hidden),
    bf16('lm_head', vocabulary, hidden),
  ];
}

/** About one for a norm; otherwise normal with the deviation that models begin with. The same in every run. */
function values({ name, shape }: TensorSpec): Buffer {
  const data = new Uint16Array(shape.reduce((product, each) => product * each, 1));
  const isNorm = name.includes('norm');
  for (let i = 0; i < data.length; i++) {
    data[i] = isNorm ? bfloat16(1 + 0.1 * Math.sin(i)) : normals[random() % normals.length]!;
  }
  return Buffer.from(data.buffer);
}

/** The upper half of single precision. */
function bfloat16(value: number): number {
  return new Uint32Array(new Float32Array([value]).buffer)[0]! >>> 16;
}

let state = 20;

/** 32 bits of xorshift. */
function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>>= 0);
}

/** A table of draws, since a logarithm for each of twenty million weights takes seconds. */
const normals = Uint16Array.from({ length: 1 << 16 }, () => {
  const [radius, angle] = [Math.sqrt(-2 * Math.log((random() + 1) / 2 ** 32)), (2 * Math.PI * random()) / 2 ** 32];
  return bfloat16(0.02 * radius * Math.cos(angle));
});
