import { everyLayer, noBiases, type Family } from './family';

/** Phi 3 and 4: Llama with q, k and v in one matrix, gate and up in another, and longrope. */
export const phi3: Family = {
  type: 'phi3',
  keys: ['sliding_window', 'resid_pdrop', 'embd_pdrop', 'attention_bias'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  rotatedShare: 1,
  originalPositions: 4096,
  parts: () => ({ fusedQkv: 'stacked', fusedGateUp: 'stacked' }),
  biases: () => noBiases,
  windows: (config, layers) => everyLayer(config.number('sliding_window', 0), layers),
};
