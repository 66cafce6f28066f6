import type { Family } from './family';
import { olmo2 } from './olmo2';
import { olmoe } from './olmoe';

/** FlexOlmo: OLMo 2 with OLMoE's experts in every layer. */
export const flexOlmo: Family = {
  ...olmo2,
  type: 'flex_olmo',
  keys: ['attention_bias', 'num_experts', 'num_local_experts', 'num_experts_per_tok', 'norm_topk_prob'],
  epsilon: ['rms_norm_eps', 1e-6],
  ropeTheta: 500_000,
  ...(olmoe.experts && { experts: olmoe.experts }),
};
