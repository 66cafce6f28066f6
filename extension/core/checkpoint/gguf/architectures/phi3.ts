import type { Architecture } from './architecture';

export const phi3: Architecture = {
  models: ['phi3'],
  name: 'phi3',
  modules: { gate_up: 'ffn_up' },
  computes: { fusedQkv: 'stacked', fusedGateUp: 'stacked' },
  divisors: 'longrope',
};
