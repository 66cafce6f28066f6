import { bert, bertEmbeddings, bertKeys, encoderParts, refuseOtherEncoders } from './bert';
import type { Family } from './family';

/** RoBERTa: BERT whose positions begin behind the padding's, with its own head. */
export const roberta: Family = {
  ...bert,
  type: 'roberta',
  keys: bertKeys,
  outer: {
    prefixes: ['roberta.', ''],
    layers: 'encoder.layer',
    modules: bertEmbeddings,
    head: {
      head: ['lm_head.decoder.weight'],
      head_dense: ['lm_head.dense.weight'],
      head_dense_bias: ['lm_head.dense.bias'],
      head_norm: ['lm_head.layer_norm.weight'],
      head_norm_bias: ['lm_head.layer_norm.bias'],
      head_bias: ['lm_head.decoder.bias', 'lm_head.bias'],
    },
  },
  parts(config) {
    refuseOtherEncoders(config);
    const padding = config.number('pad_token_id', 1);
    return {
      ...encoderParts,
      embedding: {
        positions: config.count('max_position_embeddings', 512),
        positionOffset: padding + 1,
        padding,
        types: config.count('type_vocab_size', 2),
        norm: true,
      },
      headTransform: { bias: true, norm: true, activation: 'gelu' },
    };
  },
};

/** XLM-RoBERTa and CamemBERT are RoBERTa with other vocabularies. */
export const xlmRoberta: Family = { ...roberta, type: 'xlm-roberta' };
export const camembert: Family = { ...roberta, type: 'camembert' };
