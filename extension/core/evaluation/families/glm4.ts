import type { Family } from './family';
import { glm } from './glm';

/** GLM-4 of 2025 (0414): GLM with norms after attention and MLP too. */
export const glm4: Family = {
  ...glm,
  type: 'glm4',
  modules: { attention_output_norm: 'post_self_attn_layernorm', mlp_output_norm: 'post_mlp_layernorm' },
  parts: config => ({ ...glm.parts?.(config), normPlaces: 'both' }),
};
