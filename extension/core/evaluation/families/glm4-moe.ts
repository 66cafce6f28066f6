import { eitherWay, expertCounts, type ExpertFamily } from './experts';
import { everyLayer, type Family } from './family';

/** Keys that the router below reads. */
export const groupedKeys: readonly string[] = [
  ...['moe_intermediate_size', 'num_experts_per_tok', 'n_shared_experts', 'n_routed_experts', 'num_local_experts'],
  ...['routed_scaling_factor', 'n_group', 'topk_group', 'first_k_dense_replace', 'norm_topk_prob'],
];

/**
 * A sigmoid router in groups (DeepSeek-V3), with the first layers dense.
 * @param defaults of `first_k_dense_replace` and `norm_topk_prob`
 */
export const groupedExperts = (defaults: { dense: number; renormalise: boolean }): ExpertFamily => ({
  read(config, layers) {
    const counts = expertCounts(config, {
      count: ['n_routed_experts', 'num_local_experts'],
      topK: 'num_experts_per_tok',
      defaults: [128, 8],
    });
    const groups = config.count('n_group', 1);
    const topGroups = config.count('topk_group', 1);
    const inGroup = counts.count / groups;
    if (!Number.isInteger(inGroup) || inGroup < 2 || topGroups > groups || topGroups * inGroup < counts.topK)
      config.refuse(`${topGroups} of ${groups} groups (n_group, topk_group) of ${counts.count} experts cannot be used`);
    const intermediate = config.count('moe_intermediate_size', 1408);
    const dense = config.number('first_k_dense_replace', defaults.dense);
    const shared = intermediate * config.count('n_shared_experts', 1);
    const routed = Array.from({ length: layers }, (_, layer) => layer >= dense);
    return {
      experts: {
        ...counts,
        intermediate,
        score: 'sigmoid',
        correctionBias: true,
        groups,
        topGroups,
        renormalise: config.stated('norm_topk_prob') ? config.flag('norm_topk_prob') : defaults.renormalise,
        scale: config.number('routed_scaling_factor', 1),
      },
      routed,
      widths: routed.map(each => (each ? shared : config.count('intermediate_size', 10944))),
    };
  },
  layouts: eitherWay(
    { router: 'mlp.gate', correction: 'mlp.gate.e_score_correction_bias', shared: 'mlp.shared_experts' },
    'mlp.experts',
  ),
});

/** GLM-4.5 and 4.6: half of each head rotated, a sigmoid router in groups, dense layers first. */
export const glm4Moe: Family = {
  type: 'glm4_moe',
  keys: [...groupedKeys, ...['attention_bias', 'use_qk_norm', 'num_mtp_layers', 'num_nextn_predict_layers']],
  kvHeadsDefault: 'never',
  qkNorm: config => config.flag('use_qk_norm'),
  epsilon: ['rms_norm_eps', 1e-5],
  rotatedShare: 0.5,
  experts: groupedExperts({ dense: 1, renormalise: true }),
  biases: config => ({ attentionBias: config.flag('attention_bias'), outputBias: false, mlpBias: false }),
  windows: (_, layers) => everyLayer(0, layers),
};
