import type { Family } from './family';
import { granite } from './granite';

/** HyperCLOVA X: Granite whose logits are multiplied, and whose halves are normalised again before they are added. */
export const hyperclovax: Family = {
  ...granite,
  type: 'hyperclovax',
  keys: [...granite.keys, 'use_post_norm'],
  modules: { attention_output_norm: 'post_norm1', mlp_output_norm: 'post_norm2' },
  parts(config) {
    const postNorm = config.stated('use_post_norm') ? config.flag('use_post_norm') : true;
    return {
      ...(postNorm && { normPlaces: 'both' }),
      embeddingScale: config.number('embedding_multiplier', 1),
      attentionScale: config.number('attention_multiplier', 0),
      residualScale: config.number('residual_multiplier', 1),
      logitScale: config.number('logits_scaling', 1),
    };
  },
};
