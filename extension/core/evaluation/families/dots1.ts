import { everyLayer, windowsByType, type Family } from './family';
import { groupedExperts, groupedKeys } from './glm4-moe';

/** dots.llm1: Qwen3's attention with DeepSeek's router. */
export const dots1: Family = {
  type: 'dots1',
  keys: [...groupedKeys, 'attention_bias', 'sliding_window', 'max_window_layers', 'layer_types'],
  kvHeadsDefault: 'null',
  qkNorm: true,
  experts: groupedExperts({ dense: 0, renormalise: false }),
  biases(config) {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows(config, layers) {
    const size = config.stated('sliding_window') ? config.number('sliding_window', 0) : 4096;
    const first = config.number('max_window_layers', 62);
    const named = windowsByType(config, layers, size);
    return named ?? everyLayer(size, layers).map((window, layer) => (layer >= first ? window : 0));
  },
};

/** Solar Open: the same router in every layer of Llama. */
export const solarOpen: Family = {
  type: 'solar_open',
  keys: [...groupedKeys.filter(key => key !== 'first_k_dense_replace'), 'attention_bias'],
  headDim: 128,
  kvHeadsDefault: 'never',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  ropeTheta: 1_000_000,
  experts: groupedExperts({ dense: 0, renormalise: true }),
  biases: config => ({ attentionBias: config.flag('attention_bias'), outputBias: false, mlpBias: false }),
  windows: (_, layers) => everyLayer(0, layers),
};
