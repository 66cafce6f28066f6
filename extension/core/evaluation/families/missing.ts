/** Families that people compress and that cannot be run: the part of their network that there is not here, for the refusal. */
import { TEXT_CONFIGS } from './keys';

const LATENT = 'keys and values in a latent space of low rank (multi-head latent attention)';
const DELTA = 'linear attention by a gated delta rule';
const STATE_SPACE = 'state-space layers';
const CONVOLUTIONS = 'layers of short convolutions';

/** By `model_type`, of the text's network. */
const MISSING_PARTS: ReadonlyMap<string, string> = new Map([
  ...[
    ...['deepseek_v2', 'deepseek_v3', 'deepseek_v32', 'kimi_k2', 'kimi_k25', 'glm4_moe_lite', 'minicpm3'],
    ...['longcat_flash', 'youtu', 'axk1', 'axk2', 'glm_moe_dsa', 'mistral4'],
  ].map((type): [string, string] => [type, LATENT]),
  ...['qwen3_next', 'qwen3_5', 'qwen3_5_text', 'qwen3_5_moe', 'qwen3_5_moe_text', 'kimi_linear', 'olmo_hybrid'].map(
    (type): [string, string] => [type, DELTA],
  ),
  ...[
    ...['mamba', 'mamba2', 'falcon_mamba', 'jamba', 'bamba', 'zamba', 'zamba2', 'falcon_h1', 'nemotron_h'],
    ...['granitemoehybrid'],
  ].map((type): [string, string] => [type, STATE_SPACE]),
  ...['lfm2', 'lfm2_moe'].map((type): [string, string] => [type, CONVOLUTIONS]),
  ['gemma3n', 'several streams that predict each other (AltUp), and embeddings of every layer'],
  ['gemma3n_text', 'several streams that predict each other (AltUp), and embeddings of every layer'],
  ['minimax', 'lightning attention, which is linear'],
  ['recurrent_gemma', 'gated linear recurrences'],
  ['rwkv', 'recurrences in place of attention'],
  ['xlstm', 'recurrences in place of attention'],
  ...['t5', 'mt5', 'umt5', 't5gemma', 't5gemma2', 'bart', 'mbart', 'pegasus', 'marian', 'm2m_100', 'whisper'].map(
    (type): [string, string] => [type, 'an encoder that the decoder attends to'],
  ),
  ['deberta', 'attention to relative positions by their content'],
  ['deberta-v2', 'attention to relative positions by their content'],
]);

/** What cannot be run of a network, by its configuration or that of its text; undefined where that is not known. */
export function missingPart(config: Readonly<Record<string, unknown>>): string | undefined {
  const types = [config, ...TEXT_CONFIGS.map(key => config[key])].map(each =>
    typeof each === 'object' && each !== null ? (each as Readonly<Record<string, unknown>>)['model_type'] : undefined,
  );
  return types.map(type => MISSING_PARTS.get(String(type))).find(part => part !== undefined);
}
