import { everyLayer, type Family } from './family';

/** Seed-OSS: Llama with biases of q, k and v by default. */
export const seedOss: Family = {
  type: 'seed_oss',
  keys: ['attention_bias', 'attention_out_bias', 'mlp_bias', 'residual_dropout'],
  kvHeadsDefault: 'null',
  headDim: 128,
  qkNorm: false,
  biases: config => ({
    attentionBias: config.stated('attention_bias') ? config.flag('attention_bias') : true,
    outputBias: config.flag('attention_out_bias'),
    mlpBias: config.flag('mlp_bias'),
  }),
  windows: (_, layers) => everyLayer(0, layers),
};
