/**
 * What a tensor's name says about its place in a network: the families' own naming in transformers, and a few kin.
 * Llama, Mistral, Qwen2/3, Gemma, Phi, Mixtral and DeepSeek experts, OPT, GPT-2, GPT-NeoX, Falcon, BLOOM, BERT, RoBERTa,
 * DistilBERT, T5, the original Meta names, and GGUF's.
 */
import type { Role } from './types';

export interface Place {
  readonly role: Role;
  /** Index of the transformer block, or -1. */
  readonly layer: number;
}

/** Names of lists of repeated blocks: `layers`, `h`, `transformer_blocks`, `albert_layers`, `stages`, and so on. */
const BLOCK_CONTAINER = /^(?:h|blk)$|(?:layers?|blocks?|stages?)$/;

/** By the module's own name, where that is enough. */
const MODULE_ROLES: ReadonlyMap<string, Role> = new Map(
  Object.entries({
    q: 'q_proj query q_lin wq q attn_q',
    k: 'k_proj key k_lin wk k attn_k',
    v: 'v_proj value v_lin wv v attn_v',
    o: 'o_proj out_proj out_lin wo o attn_output',
    qkv: 'qkv_proj c_attn query_key_value qkv Wqkv in_proj attn_qkv',
    gate: 'gate_proj w1 wi_0 ffn_gate',
    up: 'up_proj w3 wi_1 ffn_up',
    down: 'down_proj w2 ffn_down',
    gate_up: 'gate_up_proj',
    fc1: 'fc1 c_fc lin1 dense_h_to_4h wi',
    fc2: 'fc2 lin2 dense_4h_to_h',
    embedding: 'embed_tokens word_embeddings tok_embeddings wte embed_in token_type_embeddings shared token_embd',
    position: 'position_embeddings position_embd wpe embed_positions relative_attention_bias',
    head: 'lm_head embed_out classifier score',
    rotary: 'rotary_emb rope_freqs',
  }).flatMap(([role, names]) => names.split(' ').map(name => [name, role as Role] as const)),
);

/** By the module's name and the one that holds it, where the name alone says too little. */
const NESTED_ROLES: ReadonlyMap<string, Role> = new Map([
  ['attn.c_proj', 'o'],
  ['mlp.c_proj', 'fc2'],
  ['self_attn.dense', 'o'],
  ['self_attention.dense', 'o'],
  ['attention.dense', 'o'],
  ['attention.output.dense', 'o'],
  ['intermediate.dense', 'fc1'],
  ['output.dense', 'fc2'],
  ['pooler.dense', 'pooler'],
  ['predictions.decoder', 'head'],
  ['predictions.transform.dense', 'head'],
  ['predictions', 'head'],
  ['classifier.dense', 'head'],
  ['classifier.out_proj', 'head'],
  ['lm_head.dense', 'head'],
  ['lm_head.decoder', 'head'],
  ['DenseReluDense.wo', 'fc2'],
]);

/** Last names of the nested ones: all other modules are looked up once. */
const NESTED_NAMES: ReadonlySet<string> = new Set([...NESTED_ROLES.keys()].map(path => path.split('.').at(-1)!));

const NORM = /norm\d*$|^ln(?:_\w+|\d+)?$/i;
/** Leaves that are the weight proper; other leaves (masks, buffers, scales) say nothing of the module's role. */
const WEIGHT_LEAVES: ReadonlySet<string> = new Set(['weight', 'gamma']);
const BIAS_LEAVES: ReadonlySet<string> = new Set(['bias', 'beta']);

/** Role and block of a stored tensor or of a logical weight. Unknown names get 'other' and, where there is one, a block. */
export function placeOf(name: string): Place {
  const segments = name.split('.');
  const leaf = segments.at(-1)!;
  const hasLeaf = WEIGHT_LEAVES.has(leaf) || BIAS_LEAVES.has(leaf) || leaf === 'inv_freq';
  const module = hasLeaf ? segments.slice(0, -1) : segments;
  const role = moduleRole(module);
  const layer = blockOf(segments);
  if (!BIAS_LEAVES.has(leaf)) return { role, layer };
  // The bias of a norm belongs to the norm; `attn.bias` of GPT-2 is its causal mask, of a module with no weight.
  if (role === 'norm') return { role, layer };
  return { role: role === 'other' && /^attn$|^attention$/.test(module.at(-1) ?? '') ? 'other' : 'bias', layer };
}

function moduleRole(module: readonly string[]): Role {
  const own = module.at(-1) ?? '';
  if (NESTED_NAMES.has(own)) {
    for (const depth of [3, 2, 1]) {
      const nested = NESTED_ROLES.get(module.slice(-depth).join('.'));
      if (nested) return nested;
    }
  }
  const role = MODULE_ROLES.get(own);
  if (role) return role;
  return NORM.test(own) ? 'norm' : 'other';
}

function blockOf(segments: readonly string[]): number {
  for (let i = 1; i < segments.length; i++) {
    if (BLOCK_CONTAINER.test(segments[i - 1]!) && /^\d{1,9}$/.test(segments[i]!)) return Number(segments[i]);
  }
  return -1;
}
