import type { ConfigReader } from '../config-reader';
import { readActivation } from './activations';
import { everyLayer, unrotated, type Family, type FamilyParts } from './family';

/** Names of a block in BERT and what was made from it. */
const bertModules = {
  ...{ q: 'attention.self.query', k: 'attention.self.key', v: 'attention.self.value', o: 'attention.output.dense' },
  ...{ attention_output_norm: 'attention.output.LayerNorm', mlp_output_norm: 'output.LayerNorm' },
  ...{ up: 'intermediate.dense', down: 'output.dense' },
};
export const bertEmbeddings = {
  embedding: 'embeddings.word_embeddings',
  positions: 'embeddings.position_embeddings',
  types: 'embeddings.token_type_embeddings',
  embedding_norm: 'embeddings.LayerNorm',
};
export const bertKeys = [
  ...['layer_norm_eps', 'type_vocab_size', 'position_embedding_type', 'hidden_dropout_prob'],
  ...['attention_probs_dropout_prob', 'summary_type', 'summary_use_proj', 'summary_activation', 'model_max_length'],
  ...['summary_last_dropout', 'directionality', 'pooler_fc_size', 'pooler_num_attention_heads', 'pooler_num_fc_layers'],
  ...['pooler_size_per_head', 'pooler_type', 'gradient_checkpointing', 'output_past'],
];

/** Tokens see those after them, sums are normalised, and masked tokens are predicted. */
export const encoderParts: FamilyParts = {
  norm: 'layer',
  normPlaces: 'sum',
  noLastNorm: true,
  plainMlp: true,
  bothDirections: true,
  headBias: true,
};

/** What is not BERT's network though it goes by its name. */
export function refuseOtherEncoders(config: ConfigReader): void {
  const positions = config.text('position_embedding_type', 'absolute');
  if (positions !== 'absolute') config.refuse(`Positions of type ${positions} are not supported`);
  for (const key of ['is_decoder', 'add_cross_attention'])
    if (config.flag(key)) config.refuse(`An encoder as a decoder (${key}) is not supported`);
}

/** BERT, with the head that predicts masked tokens. */
export const bert: Family = {
  type: 'bert',
  masked: true,
  keys: bertKeys,
  kvHeadsDefault: 'always',
  qkNorm: false,
  epsilon: ['layer_norm_eps', 1e-12],
  activation: ['hidden_act', 'gelu'],
  tied: true,
  modules: bertModules,
  outer: {
    prefixes: ['bert.', ''],
    layers: 'encoder.layer',
    modules: bertEmbeddings,
    head: {
      head: ['cls.predictions.decoder.weight'],
      head_dense: ['cls.predictions.transform.dense.weight'],
      head_dense_bias: ['cls.predictions.transform.dense.bias'],
      head_norm: ['cls.predictions.transform.LayerNorm.weight'],
      head_norm_bias: ['cls.predictions.transform.LayerNorm.bias'],
      head_bias: ['cls.predictions.decoder.bias', 'cls.predictions.bias'],
    },
  },
  rotary: unrotated,
  parts(config) {
    refuseOtherEncoders(config);
    return {
      ...encoderParts,
      embedding: {
        positions: config.count('max_position_embeddings', 512),
        types: config.count('type_vocab_size', 2),
        norm: true,
      },
      headTransform: { bias: true, norm: true, activation: readActivation(config, 'hidden_act', 'gelu') },
    };
  },
  biases: () => ({ attentionBias: true, outputBias: true, mlpBias: true }),
  windows: (_, layers) => everyLayer(0, layers),
};
