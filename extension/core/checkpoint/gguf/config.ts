/** The config.json that transformers would have for a GGUF file. */
import { LqError } from '../../errors';
import type { NativeLanguageModelConfig } from '../../native';
import type { CheckpointIndex } from '../types';
import { architectureNamed } from './architectures/registry';
import { modelTypeOf } from './names';
import { ggufNetwork } from './network';
import type { GgufMetadata } from './values';

type Config = Record<string, unknown>;

/** Classes of transformers that have every key below and no others. */
const CLASSES: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** Whether `ggufConfig` is the whole configuration of the network, by what it calls the model. */
export const isWholeConfig = (config: Readonly<Config> | undefined): boolean => config?.['hidden_size'] !== undefined;

/**
 * A whole configuration where the network is one of Llama's, Qwen2's or Qwen3's, for others the name of the model alone. A file
 * whose keys are refused opens all the same: who runs it reads the network, and is told.
 */
export function ggufConfig(
  metadata: GgufMetadata,
  source: Pick<CheckpointIndex, 'byName' | 'descriptors' | 'file'>,
): Config {
  const name = metadata.get('general.architecture');
  if (typeof name !== 'string') return {};
  const architecture = architectureNamed(name);
  const routed = metadata.has(`${name}.expert_count`) && metadata.get(`${name}.expert_count`) !== 0;
  const type = (architecture && modelTypeOf(architecture, routed)) ?? name;
  if (!(name in CLASSES)) return { model_type: type };
  try {
    const network = ggufNetwork(metadata, source);
    return network.experts || network.rope.type === 'longrope' ? { model_type: type } : whole(metadata, name, network);
  } catch (error) {
    if (!(error instanceof LqError)) throw error;
    return { model_type: type };
  }
}

function whole(metadata: GgufMetadata, type: string, network: NativeLanguageModelConfig): Config {
  const idOf = (key: string): unknown => metadata.get(`tokenizer.ggml.${key}_token_id`);
  return {
    model_type: type,
    architectures: [CLASSES[type]],
    hidden_size: network.hidden,
    num_hidden_layers: network.layers,
    intermediate_size: network.intermediate,
    num_attention_heads: network.heads,
    num_key_value_heads: network.kvHeads,
    head_dim: network.headDim,
    rms_norm_eps: network.rmsEps,
    max_position_embeddings: network.maxPositions,
    vocab_size: network.vocab,
    tie_word_embeddings: network.tiedEmbeddings,
    ...(network.attentionBias && type !== 'qwen2' && { attention_bias: true }),
    ...(network.mlpBias && { mlp_bias: true }),
    ...(network.rotaryDim !== undefined && { partial_rotary_factor: network.rotaryDim / network.headDim }),
    rope_theta: network.ropeTheta,
    ...ropeScaling(network.rope),
    bos_token_id: idOf('bos'),
    eos_token_id: idOf('eos'),
  };
}

function ropeScaling(rope: NativeLanguageModelConfig['rope']): Config {
  if (rope.type === 'default') return {};
  return {
    rope_scaling: {
      rope_type: rope.type,
      factor: rope.factor,
      low_freq_factor: rope.lowFreqFactor,
      high_freq_factor: rope.highFreqFactor,
      original_max_position_embeddings: rope.originalMaxPositions,
      attention_factor: rope.attentionFactor,
      beta_fast: rope.betaFast,
      beta_slow: rope.betaSlow,
    },
  };
}
