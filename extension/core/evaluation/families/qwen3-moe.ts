import { eitherWay, expertCounts, routedByStep, type ExpertFamily } from './experts';
import { everyLayer, type Family } from './family';
import { qwen3 } from './qwen3';

const experts: ExpertFamily = {
  read(config, layers) {
    const counts = expertCounts(config, {
      count: ['num_local_experts', 'num_experts'],
      topK: 'num_experts_per_tok',
      defaults: [128, 8],
    });
    const routed = routedByStep(config, layers, counts.count);
    return {
      experts: {
        ...counts,
        intermediate: config.count('moe_intermediate_size', 768),
        score: 'softmax',
        renormalise: config.flag('norm_topk_prob'),
      },
      routed,
      widths: routed.map(each => (each ? 0 : config.count('intermediate_size', 6144))),
    };
  },
  layouts: eitherWay({ router: 'mlp.gate' }, 'mlp.experts'),
};

/** Qwen3-MoE: Qwen3 with experts. */
export const qwen3Moe: Family = {
  ...qwen3,
  type: 'qwen3_moe',
  keys: [
    ...['attention_bias', 'use_sliding_window', 'sliding_window', 'max_window_layers', 'mlp_only_layers'],
    ...['decoder_sparse_step', 'moe_intermediate_size', 'num_experts_per_tok', 'num_experts', 'num_local_experts'],
    ...['norm_topk_prob'],
  ],
  kvHeadsDefault: 'never',
  experts,
  // A window is every layer's here, unlike in Qwen3.
  windows(config, layers) {
    const size = config.stated('sliding_window') ? config.number('sliding_window', 0) : 4096;
    return everyLayer(config.flag('use_sliding_window') ? size : 0, layers);
  },
};
