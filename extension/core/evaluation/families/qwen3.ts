import type { Family } from './family';
import { qwen2, qwenWindows } from './qwen2';

/** Qwen3, dense. */
export const qwen3: Family = {
  type: 'qwen3',
  keys: [...qwen2.keys, 'attention_bias'],
  neverNull: ['head_dim'],
  kvHeadsDefault: 'null',
  headDim: 128,
  qkNorm: true,
  biases: config => {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows: qwenWindows,
};
