import type { Architecture } from './architecture';

export const seedOss: Architecture = {
  models: ['seed_oss'],
  name: 'seed_oss',
  modules: { post_attention_norm: 'post_attention_norm' },
  biases: ['attention'],
};
