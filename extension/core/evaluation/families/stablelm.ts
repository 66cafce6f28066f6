import { everyLayer, noBiases, type Family } from './family';

/** StableLM 2 and StableLM Zephyr: layer norms, a quarter of each head rotated. */
export const stablelm: Family = {
  type: 'stablelm',
  keys: ['layer_norm_eps', 'use_qkv_bias', 'qk_layernorm', 'use_parallel_residual', 'rope_pct'],
  kvHeadsDefault: 'never',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-5],
  rotatedShare: 0.25,
  parts(config) {
    if (config.flag('qk_layernorm')) config.refuse('Layer norms of queries and keys (qk_layernorm) are not supported');
    return { norm: 'layer', ...(config.flag('use_parallel_residual') && { parallel: true, sharedNorm: true }) };
  },
  biases: config => ({ ...noBiases, attentionBias: config.flag('use_qkv_bias') }),
  windows: (_, layers) => everyLayer(0, layers),
};
