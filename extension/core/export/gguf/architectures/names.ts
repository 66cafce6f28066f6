/** Names of tensors by kind of weight (gguf-py/gguf/constants.py, TENSOR_NAMES). */
import type { WeightPlace } from '../../../native';
import type { Architecture } from './architecture';

const USUAL: Readonly<Record<string, string>> = {
  ...{ embedding: 'token_embd', positions: 'position_embd', final_norm: 'output_norm', head: 'output' },
  ...{ input_norm: 'attn_norm', post_attention_norm: 'ffn_norm', q_norm: 'attn_q_norm', k_norm: 'attn_k_norm' },
  ...{ q: 'attn_q', k: 'attn_k', v: 'attn_v', qkv: 'attn_qkv', o: 'attn_output' },
  ...{ gate: 'ffn_gate', up: 'ffn_up', down: 'ffn_down', router: 'ffn_gate_inp', shared_gate: 'ffn_gate_inp_shexp' },
};
const OF_EXPERTS: ReadonlySet<string> = new Set(['gate', 'up', 'down']);

/** The name of a tensor, or undefined for a weight that the format has none for. Experts of a layer share one. */
export function tensorName(
  { modules = {} }: Architecture,
  { layer, kind, expert }: WeightPlace,
  routed: boolean,
): string | undefined {
  const [, stem = kind, bias] = /^(.+?)(_bias)?$/.exec(kind) ?? [];
  const module = modules[stem] ?? USUAL[stem];
  if (module === undefined) return undefined;
  const many = !OF_EXPERTS.has(stem) ? '' : expert !== undefined ? '_exps' : routed ? '_shexp' : '';
  return `${layer < 0 ? '' : `blk.${layer}.`}${module}${many}.${bias ? 'bias' : 'weight'}`;
}

/** Weights of norms, not their biases. */
export const isNorm = (kind: string): boolean => kind.endsWith('_norm');

/** Small matrices that llama.cpp's converter keeps in F32, and some of its operations need so. */
export const isWide = (kind: string): boolean => isNorm(kind) || kind === 'router' || kind === 'positions';
