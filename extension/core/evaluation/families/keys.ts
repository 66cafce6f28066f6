/**
 * The allow-list of config.json: keys that every family's network depends on, and keys known to change nothing in a forward
 * pass. A key that is on neither list, nor on its family's, is named in a warning: transformers stores such keys too, and
 * what it makes of a new one is not known here.
 */

/** Where configurations of models for images and sounds have the text's. */
export const TEXT_CONFIGS: readonly string[] = ['text_config', 'llm_config', 'language_config'];

/** Read by `languageModelConfig`; some only to refuse what cannot be run. */
export const COMMON_KEYS: readonly string[] = [
  'model_type',
  'architectures',
  'num_hidden_layers',
  'hidden_size',
  'num_attention_heads',
  'num_key_value_heads',
  'head_dim',
  'intermediate_size',
  'vocab_size',
  'max_position_embeddings',
  'rms_norm_eps',
  'hidden_act',
  'tie_word_embeddings',
  'rope_theta',
  'rope_scaling',
  'rope_parameters',
  'partial_rotary_factor',
  'original_max_position_embeddings',
  'quantization_config',
  'is_causal',
  'per_layer_config',
  'configuration_files',
  'auto_map',
];

/** Training, initialisation, generation, book-keeping, and how rather than what to compute (PreTrainedConfig). */
export const INERT_KEYS: readonly string[] = [
  ...['_name_or_path', 'name_or_path', 'transformers_version', 'torch_dtype', 'dtype', 'torchscript', 'use_bfloat16'],
  ...['initializer_range', 'attention_dropout', 'hidden_dropout', 'classifier_dropout', 'gradient_checkpointing'],
  ...['bos_token_id', 'eos_token_id', 'pad_token_id', 'sep_token_id', 'unk_token_id', 'decoder_start_token_id'],
  ...['use_cache', 'return_dict', 'use_return_dict', 'output_attentions', 'output_hidden_states', 'output_scores'],
  ...['return_dict_in_generate', 'attn_implementation', '_attn_implementation', '_attn_implementation_autoset'],
  ...['output_router_logits', 'router_aux_loss_coef', 'router_jitter_noise'],
  ...['experts_implementation', '_experts_implementation', '_commit_hash', 'chunk_size_feed_forward'],
  ...['pretraining_tp', 'tie_encoder_decoder', 'is_encoder_decoder', 'is_decoder', 'add_cross_attention'],
  ...['cross_attention_hidden_size', 'pruned_heads', 'finetuning_task', 'task_specific_params', 'problem_type'],
  ...['id2label', 'label2id', 'num_labels', 'prefix', 'tokenizer_class', 'tf_legacy_loss', 'unsloth_version'],
  ...['unsloth_fixed', 'max_length', 'min_length', 'do_sample', 'early_stopping', 'num_beams', 'num_beam_groups'],
  ...['diversity_penalty', 'temperature', 'top_k', 'top_p', 'typical_p', 'repetition_penalty', 'length_penalty'],
  ...['no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'bad_words_ids', 'num_return_sequences'],
  ...['forced_bos_token_id', 'forced_eos_token_id', 'remove_invalid_values', 'exponential_decay_length_penalty'],
  ...['suppress_tokens', 'begin_suppress_tokens'],
];

/** Keys of `rope_scaling` and `rope_parameters` that some scaling reads. */
export const ROPE_KEYS: readonly string[] = [
  ...['rope_type', 'type', 'rope_theta', 'partial_rotary_factor', 'factor', 'original_max_position_embeddings'],
  ...['low_freq_factor', 'high_freq_factor', 'attention_factor', 'beta_fast', 'beta_slow', 'mscale', 'mscale_all_dim'],
  ...['truncate', 'short_factor', 'long_factor', 'llama_4_scaling_beta', 'max_position_embeddings'],
];
