/**
 * config.json as the language-model runtime needs it. Semantics follow the Hugging Face modelling code of each family;
 * whatever would compute something else is refused by name.
 */
import type { NativeLanguageModelConfig } from '../native';
import { LqError } from '../errors';
import { PACKED_FORMAT } from '../packed/format';
import { ConfigReader } from './config-reader';
import { readRope } from './rope';

/** What sets a family apart beyond the numbers in its config.json. */
interface Family {
  /** Key-value heads where the config has none: as many as query heads, or the number must be there. */
  kvHeadsDefault: 'heads' | 'required';
  headDimDefault?: number;
  biases(config: ConfigReader): Pick<NativeLanguageModelConfig, 'attentionBias' | 'outputBias' | 'mlpBias'>;
  qkNorm: boolean;
  slidingWindow(config: ConfigReader, layers: number): number;
}

const noBiases = { attentionBias: false, outputBias: false, mlpBias: false };

const FAMILIES: Readonly<Record<string, Family>> = {
  llama: {
    kvHeadsDefault: 'heads',
    qkNorm: false,
    biases: config => {
      const attention = config.flag('attention_bias');
      return { attentionBias: attention, outputBias: attention, mlpBias: config.flag('mlp_bias') };
    },
    slidingWindow: () => 0,
  },
  mistral: {
    kvHeadsDefault: 'required',
    qkNorm: false,
    biases: () => noBiases,
    slidingWindow: config => config.number('sliding_window', 0),
  },
  qwen2: {
    kvHeadsDefault: 'required',
    qkNorm: false,
    biases: () => ({ ...noBiases, attentionBias: true }),
    slidingWindow: qwenWindow,
  },
  qwen3: {
    kvHeadsDefault: 'required',
    headDimDefault: 128,
    qkNorm: true,
    biases: config => {
      const attention = config.flag('attention_bias');
      return { attentionBias: attention, outputBias: attention, mlpBias: false };
    },
    slidingWindow: qwenWindow,
  },
};

/** Values of `model_type` that can be run. */
export const SUPPORTED_FAMILIES: readonly string[] = Object.keys(FAMILIES);

/**
 * The runtime's configuration.
 * @param config parsed config.json, or undefined when the checkpoint has none
 * @param file where it was read, for errors
 * @throws LqError 'unsupported-model' naming the architecture or feature.
 */
export function languageModelConfig(
  config: Readonly<Record<string, unknown>> | undefined,
  file: string,
): NativeLanguageModelConfig {
  if (config === undefined)
    throw new LqError('unsupported-model', `A language model is run from its config.json, and there is no ${file}.`, {
      file,
    });
  const reader: ConfigReader = new ConfigReader(config, file);
  const type = reader.text('model_type', '');
  const family = Object.hasOwn(FAMILIES, type) ? FAMILIES[type] : undefined;
  if (family === undefined) {
    const architecture = Array.isArray(config['architectures']) ? String(config['architectures'][0]) : type;
    reader.refuse(
      `The architecture ${architecture || '(not named)'} cannot be run; ${SUPPORTED_FAMILIES.join(', ')} can`,
    );
  }
  refuseOtherMathematics(reader);
  const layers = reader.number('num_hidden_layers');
  const hidden = reader.number('hidden_size');
  const heads = reader.number('num_attention_heads');
  const maxPositions = reader.number('max_position_embeddings');
  const kvHeads = reader.number('num_key_value_heads', family.kvHeadsDefault === 'heads' ? heads : undefined);
  const headDim = reader.number('head_dim', family.headDimDefault ?? Math.floor(hidden / heads));
  if (heads % kvHeads !== 0) reader.refuse(`${heads} attention heads cannot share ${kvHeads} key-value heads`);
  if (headDim % 2 !== 0) reader.refuse(`An odd head size of ${headDim} has no rotary embedding`);
  return {
    layers,
    hidden,
    heads,
    kvHeads,
    headDim,
    intermediate: reader.number('intermediate_size'),
    vocab: reader.number('vocab_size'),
    maxPositions,
    rmsEps: reader.number('rms_norm_eps', 1e-6),
    ...readRope(reader, maxPositions),
    slidingWindow: family.slidingWindow(reader, layers),
    ...family.biases(reader),
    qkNorm: family.qkNorm,
    tiedEmbeddings: reader.flag('tie_word_embeddings'),
  };
}

function refuseOtherMathematics(reader: ConfigReader): void {
  const activation = reader.text('hidden_act', 'silu');
  if (activation !== 'silu' && activation !== 'swish') reader.refuse(`The activation ${activation} is not supported`);
  const quantization = reader.object('quantization_config')?.text('quant_method', 'another tool');
  if (quantization !== undefined && quantization !== PACKED_FORMAT)
    reader.refuse(`Weights quantised by ${quantization} cannot be run`);
}

/** Qwen attends within a window in the layers that `layer_types`, or before it `max_window_layers`, say, if at all. */
function qwenWindow(config: ConfigReader, layers: number): number {
  const window = config.number('sliding_window', 0);
  if (!config.flag('use_sliding_window') || window === 0) return 0;
  const types = config.list('layer_types');
  const windowed =
    types === undefined
      ? Math.max(0, layers - config.number('max_window_layers', layers))
      : types.filter(type => type === 'sliding_attention').length;
  if (windowed !== 0 && windowed !== layers)
    config.refuse(`A sliding window in ${windowed} of ${layers} layers is not supported`);
  return windowed === 0 ? 0 : window;
}
