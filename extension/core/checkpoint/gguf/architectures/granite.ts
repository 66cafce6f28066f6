import { f32, stated, type Architecture } from './architecture';

/** Logits are divided by what the file says. */
export const granite: Architecture = {
  models: ['granite'],
  name: 'granite',
  paired: true,
  states: {
    embeddingScale: stated('embedding_scale'),
    attentionScale: stated('attention.scale'),
    residualScale: stated('residual_scale'),
    logitScale: { key: 'logit_scale', as: 'inverse' },
  },
  keys: ({ embeddingScale = 1, residualScale = 1, logitScale = 1 }) => [
    ...(embeddingScale === 1 ? [['embedding_scale', f32(1)] as const] : []),
    ...(residualScale === 1 ? [['residual_scale', f32(1)] as const] : []),
    ...(logitScale === 1 ? [['logit_scale', f32(1)] as const] : []),
  ],
  biases: ['attention', 'output', 'mlp'],
  divisors: 'llama3',
};
