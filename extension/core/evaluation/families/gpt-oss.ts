import type { ConfigReader } from '../config-reader';
import { expertCounts, together, type ExpertFamily } from './experts';
import { everyLayer, windowsByType, type Family } from './family';

const experts: ExpertFamily = {
  read: (config, layers) => ({
    experts: {
      ...expertCounts(config, {
        count: ['num_local_experts', 'num_experts'],
        topK: 'num_experts_per_tok',
        defaults: [128, 4],
      }),
      intermediate: config.count('intermediate_size', 2880),
      score: 'softmax_of_chosen',
      routerBias: true,
      bias: true,
      clampLimit: config.number('swiglu_limit', 7),
      clampAlpha: config.number('swiglu_alpha', 1.702),
    },
    routed: Array.from({ length: layers }, () => true),
    widths: everyLayer(0, layers),
  }),
  layouts: [{ router: 'mlp.router', matrices: together('mlp.experts', { order: 'interleaved', transposed: true }) }],
};

/** What there is where the configuration has no rotary embedding. */
const YARN = {
  rope_type: 'yarn',
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

/**
 * gpt-oss: experts in every layer, clamped and biased; a logit in each head's softmax that attends to nothing; every other layer
 * attends within a window. Its experts are published in MXFP4.
 */
export const gptOss: Family = {
  type: 'gpt_oss',
  keys: [
    ...['attention_bias', 'sliding_window', 'layer_types', 'num_local_experts', 'num_experts', 'num_experts_per_tok'],
    ...['swiglu_limit', 'swiglu_alpha', 'experts_per_token', 'initial_context_length'],
  ],
  defaults: config => (config.object('rope_scaling')?.names.length ? {} : { rope_parameters: YARN }),
  kvHeadsDefault: 'null',
  headDim: 64,
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  ropeTheta: 150_000,
  modules: { sinks: 'self_attn.sinks' },
  experts,
  parts: () => ({ sinks: true }),
  biases(config) {
    const attention = config.has('attention_bias') ? config.flag('attention_bias') : true;
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows,
};

function windows(config: ConfigReader, layers: number): number[] {
  const window = config.stated('sliding_window') ? config.number('sliding_window', 0) : 128;
  return windowsByType(config, layers, window) ?? Array.from({ length: layers }, (_, i) => (i % 2 === 0 ? window : 0));
}
