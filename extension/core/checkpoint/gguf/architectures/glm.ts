import type { Architecture } from './architecture';

/** GLM-4 of 2024, which llama.cpp runs as ChatGLM. */
export const glm: Architecture = {
  models: ['glm'],
  name: 'chatglm',
  modules: { gate_up: 'ffn_up' },
  computes: { rotaryInterleaved: true, fusedGateUp: 'stacked' },
  biases: ['attention'],
};
