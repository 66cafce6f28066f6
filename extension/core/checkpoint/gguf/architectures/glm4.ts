import { NORMS_AFTER, type Architecture } from './architecture';

export const glm4: Architecture = {
  models: ['glm4'],
  name: 'glm4',
  modules: { ...NORMS_AFTER, gate_up: 'ffn_up' },
  computes: { normPlaces: 'both', rotaryInterleaved: true, fusedGateUp: 'stacked' },
  biases: ['attention'],
};
