import { everyLayer, type Family, type FamilyParts } from './family';

/** Names of a block's two norms, both after what they normalise. */
const olmoNorms = {
  attention_output_norm: 'post_attention_layernorm',
  mlp_output_norm: 'post_feedforward_layernorm',
};
const olmoParts = (): FamilyParts => ({ normPlaces: 'after', headNorm: 'together' });

/** OLMo 2: norms after attention and MLP alone, and of queries and keys over all heads together. */
export const olmo2: Family = {
  type: 'olmo2',
  keys: ['attention_bias'],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: true,
  epsilon: ['rms_norm_eps', 1e-5],
  modules: olmoNorms,
  parts: olmoParts,
  biases: config => {
    const attention = config.flag('attention_bias');
    return { attentionBias: attention, outputBias: attention, mlpBias: false };
  },
  windows: (_, layers) => everyLayer(0, layers),
};
