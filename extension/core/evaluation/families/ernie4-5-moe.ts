import { ernie45 } from './ernie4-5';
import { expertCounts, separate, together, type ExpertFamily } from './experts';
import type { Family } from './family';
import { headBiasNames } from './names';

/** Chosen scores whose sum is below `moe_norm_min` are divided by that; no softmax of 64 experts comes near this. */
const UNREACHED_SUM = 1e-6;

const experts: ExpertFamily = {
  read(config, layers) {
    const counts = expertCounts(config, {
      count: ['num_experts'],
      topK: 'num_experts_per_tok',
      defaults: [64, 6],
    });
    const least = config.number('moe_norm_min', 1e-12);
    if (least > UNREACHED_SUM)
      config.refuse(`Router weights with a least sum of ${least} (moe_norm_min) are not supported`);
    const intermediate = config.count('moe_intermediate_size', 1536);
    const shared = intermediate * config.number('moe_num_shared_experts', 2);
    const step = config.count('moe_layer_interval', 1);
    const first = config.number('moe_layer_start_index', 1);
    const last = config.number('moe_layer_end_index', -1);
    const end = last === -1 ? layers - 1 : last;
    const routed = Array.from({ length: layers }, (_, i) => (i + 1) % step === 0 && i >= first && i <= end);
    return {
      experts: { ...counts, intermediate, score: 'softmax', correctionBias: true, renormalise: true },
      routed,
      widths: routed.map(each => (each ? shared : config.count('intermediate_size', 12288))),
    };
  },
  layouts: [
    {
      router: 'mlp.gate',
      correction: 'mlp.moe_statics.e_score_correction_bias',
      shared: 'mlp.shared_experts',
      matrices: separate('mlp.experts'),
    },
    {
      router: 'mlp.gate',
      correction: 'mlp.gate.moe_statics.e_score_correction_bias',
      shared: 'mlp.shared_experts',
      matrices: together('mlp.experts'),
    },
  ],
};

/** ERNIE 4.5 with experts: a softmax router whose choices are corrected by a bias, and experts that all tokens share. */
export const ernie45Moe: Family = {
  type: 'ernie4_5_moe',
  keys: [
    ...['use_bias', 'moe_intermediate_size', 'moe_num_shared_experts', 'moe_norm_min'],
    ...['moe_layer_interval', 'moe_layer_start_index', 'moe_layer_end_index'],
  ],
  aliases: { num_experts: 'moe_num_experts', num_experts_per_tok: 'moe_k' },
  kvHeadsDefault: 'never',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  tied: true,
  ropeTheta: 500_000,
  experts,
  outer: { head: { head: ['lm_head.weight'], ...headBiasNames } },
  parts: config => ({ rotaryInterleaved: true, headBias: config.flag('use_bias') }),
  biases: config => ernie45.biases(config),
  windows: (config, layers) => ernie45.windows(config, layers),
};
