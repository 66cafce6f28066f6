import { biasSwitches, everyLayer, type Family } from './family';

/** Granite 3, dense: multipliers on embeddings, attention, residuals and logits. */
export const granite: Family = {
  type: 'granite',
  keys: [
    ...['attention_bias', 'mlp_bias'],
    ...['embedding_multiplier', 'attention_multiplier', 'residual_multiplier', 'logits_scaling'],
  ],
  kvHeadsDefault: 'null-or-absent',
  qkNorm: false,
  parts: config => ({
    embeddingScale: config.number('embedding_multiplier', 1),
    attentionScale: config.number('attention_multiplier', 1),
    residualScale: config.number('residual_multiplier', 1),
    logitScale: 1 / config.number('logits_scaling', 1),
  }),
  biases: biasSwitches,
  windows: (_, layers) => everyLayer(0, layers),
};
