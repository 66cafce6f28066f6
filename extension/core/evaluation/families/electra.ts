import { bert, bertEmbeddings, bertKeys, encoderParts, refuseOtherEncoders } from './bert';
import type { Family } from './family';

/** ELECTRA's generator: BERT with embeddings narrower than its stream, or as wide. */
export const electra: Family = {
  ...bert,
  type: 'electra',
  keys: [...bertKeys, 'embedding_size'],
  outer: {
    prefixes: ['electra.', ''],
    layers: 'encoder.layer',
    modules: { ...bertEmbeddings, embedding_projection: 'embeddings_project' },
    head: {
      head: ['generator_lm_head.weight'],
      head_dense: ['generator_predictions.dense.weight'],
      head_dense_bias: ['generator_predictions.dense.bias'],
      head_norm: ['generator_predictions.LayerNorm.weight'],
      head_norm_bias: ['generator_predictions.LayerNorm.bias'],
      head_bias: ['generator_lm_head.bias'],
    },
  },
  parts(config) {
    refuseOtherEncoders(config);
    const width = config.count('embedding_size', 128);
    return {
      ...encoderParts,
      embedding: {
        positions: config.count('max_position_embeddings', 512),
        types: config.count('type_vocab_size', 2),
        norm: true,
        ...(width !== config.count('hidden_size') && { width, projectionBias: true }),
      },
      headTransform: { bias: true, norm: true, activation: 'gelu' },
    };
  },
};
