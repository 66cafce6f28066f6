import type { Architecture } from './architecture';

/** GPT-NeoX and Pythia; its norms are two also where attention and MLP are side by side. */
export const gptNeox: Architecture = {
  models: ['gpt_neox'],
  name: 'gptneox',
  computes: { norm: 'layer', plainMlp: true, fusedQkv: 'grouped' },
  states: { parallel: { key: 'use_parallel_residual', as: 'flag' } },
  stacks: true,
  activations: ['gelu', 'gelu_tanh'],
  biases: ['attention', 'output', 'mlp'],
};
