import { biasSwitches, everyLayer, type Family } from './family';
import { headBiasNames } from './names';

/** EuroBERT: Llama that attends in both directions and predicts masked tokens. */
export const eurobert: Family = {
  type: 'eurobert',
  keys: ['attention_bias', 'mlp_bias', 'mask_token_id', 'classifier_pooling'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  epsilon: ['rms_norm_eps', 1e-5],
  masked: true,
  outer: { head: headBiasNames },
  parts: config => ({ bothDirections: true, headBias: config.flag('mlp_bias') }),
  biases: biasSwitches,
  windows: (_, layers) => everyLayer(0, layers),
};
