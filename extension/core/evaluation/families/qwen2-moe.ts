import type { ConfigReader } from '../config-reader';
import { eitherWay, expertCounts, routedByStep, type ExpertFamily } from './experts';
import { noBiases, windowsByType, everyLayer, type Family } from './family';

const KEYS = ['decoder_sparse_step', 'moe_intermediate_size', 'num_experts_per_tok', 'num_experts', 'norm_topk_prob'];

const experts: ExpertFamily = {
  read(config, layers) {
    const counts = expertCounts(config, { count: ['num_experts'], topK: 'num_experts_per_tok', defaults: [60, 4] });
    const routed = routedByStep(config, layers, counts.count);
    const shared = config.count('shared_expert_intermediate_size', 5632);
    return {
      experts: {
        ...counts,
        intermediate: config.count('moe_intermediate_size', 1408),
        score: 'softmax',
        renormalise: config.flag('norm_topk_prob'),
        sharedGate: true,
      },
      routed,
      widths: routed.map(each => (each ? shared : config.count('intermediate_size', 5632))),
    };
  },
  layouts: eitherWay(
    { router: 'mlp.gate', shared: 'mlp.shared_expert', sharedGate: 'mlp.shared_expert_gate' },
    'mlp.experts',
  ),
};

/** Qwen1.5-MoE and Qwen2-MoE: Qwen2 with experts and one that all tokens share, behind a gate. */
export const qwen2Moe: Family = {
  type: 'qwen2_moe',
  keys: [
    ...KEYS,
    ...['shared_expert_intermediate_size', 'mlp_only_layers', 'qkv_bias'],
    ...['use_sliding_window', 'sliding_window', 'max_window_layers', 'layer_types'],
  ],
  kvHeadsDefault: 'never',
  qkNorm: false,
  experts,
  biases: config => ({ ...noBiases, attentionBias: config.stated('qkv_bias') ? config.flag('qkv_bias') : true }),
  windows,
};

/** Without `layer_types`, every other layer below `max_window_layers` attends within a window, if there is one. */
function windows(config: ConfigReader, layers: number): number[] {
  const size = config.stated('sliding_window') ? config.number('sliding_window', 0) : 4096;
  const window = config.flag('use_sliding_window') ? size : 0;
  if (window === 0) return everyLayer(0, layers);
  const most = config.number('max_window_layers', 28);
  return (
    windowsByType(config, layers, window) ??
    Array.from({ length: layers }, (_, i) => ((i + 1) % 2 === 1 && i < most ? window : 0))
  );
}
