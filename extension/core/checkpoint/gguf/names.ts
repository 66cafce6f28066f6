/**
 * Names of the llama family in GGUF and in transformers (gguf-py/gguf/tensor_mapping.py), and the order of rows that
 * llama.cpp stores q and k in.
 */

const OUTER: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

const BLOCK: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

const invert = (names: Readonly<Record<string, string>>): ReadonlyMap<string, string> =>
  new Map(Object.entries(names).map(([gguf, model]) => [model, gguf]));
const OUTER_INVERSE = invert(OUTER);
const BLOCK_INVERSE = invert(BLOCK);

/** Values of general.architecture whose tensors have the names above. Mistral is stored as `llama`. */
export const LLAMA_LIKE: ReadonlySet<unknown> = new Set(['llama', 'qwen2', 'qwen3']);

/** The name transformers gives a tensor of the llama family, or undefined for one it does not have. */
export function modelName(name: string): string | undefined {
  const match = /^(?:blk\.(\d{1,9})\.)?([a-z_]+)\.(weight|bias)$/.exec(name);
  if (!match) return undefined;
  const [, layer, module, leaf] = match;
  const mapped = (layer === undefined ? OUTER : BLOCK)[module!];
  if (mapped === undefined) return undefined;
  return layer === undefined ? `${mapped}.${leaf}` : `model.layers.${layer}.${mapped}.${leaf}`;
}

/** The name GGUF gives a tensor of the llama family, or undefined for one it does not have. */
export function ggufName(name: string): string | undefined {
  const match = /^(?:model\.layers\.(\d{1,9})\.)?(.+)\.(weight|bias)$/.exec(name);
  if (!match) return undefined;
  const [, layer, module, leaf] = match;
  const mapped = (layer === undefined ? OUTER_INVERSE : BLOCK_INVERSE).get(module!);
  if (mapped === undefined) return undefined;
  return layer === undefined ? `${mapped}.${leaf}` : `blk.${layer}.${mapped}.${leaf}`;
}

/** What a tensor of a file is called here: as in transformers where the architecture is of the llama family. */
export const logicalName = (architecture: unknown, name: string): string =>
  (LLAMA_LIKE.has(architecture) ? modelName(name) : undefined) ?? name;

/** Architectures that store rows of q and k in the order of rotary pairs (llama.cpp, conversion/, LlamaModel and its kin). */
export const PAIRED: ReadonlySet<unknown> = new Set(['llama', 'granite', 'smollm3', 'arcee', 'olmo']);

/** Which head count orders the rows of a tensor in pairs, when the architecture does: query heads or key heads. */
export function pairedRows(name: string): 'heads' | 'kvHeads' | undefined {
  const match = /^blk\.\d+\.attn_([qk])\.(?:weight|bias)$/.exec(name);
  return match ? (match[1] === 'q' ? 'heads' : 'kvHeads') : undefined;
}
