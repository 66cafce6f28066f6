/** Names of tensors by kind of weight (gguf-py/gguf/constants.py, TENSOR_NAMES). */
import type { WeightPlace } from '../../../native';
import type { Architecture } from './architecture';

const USUAL: Readonly<Record<string, string>> = {
  ...{ embedding: 'token_embd', positions: 'position_embd', final_norm: 'output_norm', head: 'output' },
  ...{ input_norm: 'attn_norm', post_attention_norm: 'ffn_norm', q_norm: 'attn_q_norm', k_norm: 'attn_k_norm' },
  ...{ q: 'attn_q', k: 'attn_k', v: 'attn_v', qkv: 'attn_qkv', o: 'attn_output' },
  ...{ gate: 'ffn_gate', up: 'ffn_up', down: 'ffn_down', router: 'ffn_gate_inp', shared_gate: 'ffn_gate_inp_shexp' },
  router_correction: 'exp_probs_b',
  sinks: 'attn_sinks',
};
/** Stored as a bias without a weight. */
const CORRECTION = 'router_correction';
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
  return `${layer < 0 ? '' : `blk.${layer}.`}${module}${many}.${bias || stem === CORRECTION ? 'bias' : 'weight'}`;
}

/** What a tensor of a file is. */
export interface StoredPlace {
  readonly layer: number;
  /** With `_bias` behind it for a bias. */
  readonly kind: string;
  /** Of an MLP beside or of experts: the matrix of the one that all tokens go through, or those of all experts, one after another. */
  readonly of?: 'shared' | 'experts';
}

const OUTER: ReadonlySet<string> = new Set(['embedding', 'embedding_norm', 'positions', 'final_norm', 'head']);
const NAME = /^(?:blk\.(\d{1,9})\.)?([a-z_]+?)(_exps|_shexp)?\.(weight|bias)$/;

/** The inverse of `tensorName`, or undefined for a tensor that is no weight of the network. */
export function placeOfTensor({ modules = {} }: Architecture, name: string): StoredPlace | undefined {
  const [, block, own, many, leaf] = NAME.exec(name) ?? [];
  // The gate of a shared expert ends like its matrices.
  const named = (module: string): string | undefined =>
    Object.keys(modules).find(kind => modules[kind] === module) ??
    Object.keys(USUAL).find(kind => USUAL[kind] === module);
  if (own === undefined) return undefined;
  const whole = named(`${own}${many ?? ''}`);
  const stem = whole ?? named(own);
  if (stem === undefined || OUTER.has(stem) !== (block === undefined)) return undefined;
  if (whole === undefined && !OF_EXPERTS.has(stem)) return undefined;
  if (stem === CORRECTION && leaf !== 'bias') return undefined;
  const kind = leaf === 'bias' && stem !== CORRECTION ? `${stem}_bias` : stem;
  const layer = block === undefined ? -1 : Number(block);
  if (whole !== undefined) return { layer, kind };
  return { layer, kind, of: many === '_exps' ? 'experts' : 'shared' };
}

/** Weights of norms, not their biases. */
export const isNorm = (kind: string): boolean => kind.endsWith('_norm');

/** Small matrices that llama.cpp's converter keeps in F32, and some of its operations need so. */
export const isWide = (kind: string): boolean => isNorm(kind) || kind === 'router' || kind === 'positions';
