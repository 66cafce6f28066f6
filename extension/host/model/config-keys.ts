/** What the keys of config.json and adapter_config.json mean, in a sentence, with what the value says. */

type Explain = (value: unknown, config: Readonly<Record<string, unknown>>) => string;
const always =
  (text: string): Explain =>
  () =>
    text;

const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

const modelKeys: Readonly<Record<string, Explain>> = {
  architectures: always('Classes of transformers that this model is made with; the first decides how names are read.'),
  model_type: always('Family of the architecture.'),
  hidden_size: (value, config) => {
    const heads = number(config['num_attention_heads']);
    const size = number(value);
    const each = heads !== undefined && size !== undefined ? ` Here ${size / heads} for each of ${heads} heads.` : '';
    return `Width of the residual stream: columns of q, k, v, gate and up, rows of o and down.${each}`;
  },
  intermediate_size: (value, config) => {
    const hidden = number(config['hidden_size']);
    const size = number(value);
    const times = hidden && size ? ` Here ${(size / hidden).toFixed(2)} times the hidden size.` : '';
    return `Width of the feed-forward block: rows of gate and up, columns of down.${times}`;
  },
  num_hidden_layers: always('Number of repeated transformer blocks.'),
  num_attention_heads: always('Query heads in a layer.'),
  num_key_value_heads: (value, config) => {
    const heads = number(config['num_attention_heads']);
    const own = number(value);
    if (heads === undefined || !own) return 'Key and value heads in a layer.';
    if (own === heads) return 'Key and value heads in a layer. Here as many as query heads: multi-head attention.';
    const kind = own === 1 ? 'multi-query' : 'grouped-query';
    return `Key and value heads in a layer. Here ${heads / own} query heads share one: ${kind} attention.`;
  },
  head_dim: always('Width of one attention head; without it hidden_size / num_attention_heads.'),
  vocab_size: always('Rows of the embedding and of the output head.'),
  max_position_embeddings: always('Longest context, in tokens, that the positions were made for.'),
  rms_norm_eps: always('Added under the root in RMSNorm.'),
  layer_norm_eps: always('Added under the root in LayerNorm.'),
  layer_norm_epsilon: always('Added under the root in LayerNorm.'),
  rope_theta: always('Base of the rotary embedding’s wavelengths; larger reaches further.'),
  rope_scaling: always('How rotary positions are stretched beyond the trained context.'),
  rope_parameters: always('Base and scaling of the rotary embedding.'),
  tie_word_embeddings: value =>
    value === true
      ? 'The output head is the embedding’s matrix: no lm_head is stored.'
      : 'The output head has a matrix of its own, lm_head.',
  torch_dtype: always('Type the weights were saved in.'),
  dtype: always('Type the weights were saved in.'),
  hidden_act: always('Activation between gate and down.'),
  attention_bias: always('Whether q, k, v and o have bias vectors.'),
  mlp_bias: always('Whether gate, up and down have bias vectors.'),
  attention_dropout: always('Dropout on attention weights while training; not used otherwise.'),
  sliding_window: value =>
    value === null ? 'Attention reaches all earlier tokens.' : 'Tokens back that attention reaches.',
  initializer_range: always('Standard deviation the weights began with; trained ones are seldom far from it.'),
  bos_token_id: always('Token put before a text.'),
  eos_token_id: always('Token that ends a text.'),
  pad_token_id: always('Token that fills short sequences.'),
  use_cache: always('Whether keys and values are kept while generating.'),
  num_experts: always('Experts in a mixture-of-experts layer.'),
  num_local_experts: always('Experts in a mixture-of-experts layer.'),
  num_experts_per_tok: always('Experts that each token is sent to.'),
  transformers_version: always('Version of transformers that saved this file.'),
  quantization_config: always('How another tool quantised the weights; they are shown as logical layers.'),
  quant_method: always('The tool or format the weights were quantised with.'),
  bits: always('Bits of a stored code.'),
  group_size: always('Weights that share one scale; −1 is a whole row.'),
  desc_act: always('Whether GPTQ took columns by decreasing activation, which permutes the groups.'),
  sym: always('Whether codes are symmetric around zero.'),
  n_layer: always('Number of repeated transformer blocks.'),
  n_head: always('Attention heads in a layer.'),
  n_embd: always('Width of the residual stream.'),
  n_positions: always('Longest context, in tokens.'),
};

const adapterKeys: Readonly<Record<string, Explain>> = {
  peft_type: always('Kind of adapter.'),
  r: always('Rank of the adapter: columns of B and rows of A.'),
  lora_alpha: (value, config) => {
    const [alpha, rank] = [number(value), number(config['r'])];
    if (alpha === undefined || !rank) return 'Numerator of the adapter’s scale.';
    const root = config['use_rslora'] === true;
    const scale = alpha / (root ? Math.sqrt(rank) : rank);
    return `Scale of the adapter: B A is multiplied by alpha / ${root ? 'sqrt(r)' : 'r'}, here ${+scale.toPrecision(4)}.`;
  },
  lora_dropout: always('Dropout before A while training; not used otherwise.'),
  target_modules: always('Names (or a pattern) of the modules that the adapter changes.'),
  modules_to_save: always('Modules trained whole and stored beside the adapter.'),
  base_model_name_or_path: always('The model this adapter belongs to.'),
  bias: always('Which bias vectors were trained: none, all, or lora_only.'),
  use_rslora: always('Scale by alpha / sqrt(r) rather than alpha / r.'),
  use_dora: always('Weight-decomposed adapter: a trained magnitude for each row as well.'),
  init_lora_weights: always('How A and B began; a quantisation-aware start changes the base weights too.'),
  rank_pattern: always('Ranks of modules that differ from r.'),
  alpha_pattern: always('Alphas of modules that differ from lora_alpha.'),
  layers_to_transform: always('Layers the adapter is limited to.'),
  fan_in_fan_out: always('Whether the base weight is stored [in, out], as in GPT-2’s Conv1D.'),
  task_type: always('What the adapter was trained for.'),
  inference_mode: always('Whether the adapter was saved for use rather than further training.'),
};

/** The sentence for a key of the given file, or undefined for a key that is not known. */
export function explainKey(
  file: 'config.json' | 'adapter_config.json',
  key: string,
  value: unknown,
  config: Readonly<Record<string, unknown>>,
): string | undefined {
  const keys = file === 'config.json' ? modelKeys : adapterKeys;
  return Object.hasOwn(keys, key) ? keys[key]!(value, config) : undefined;
}

/** The key at a place in a line of JSON: a string followed by a colon. */
export function keyAt(line: string, character: number): { key: string; start: number; end: number } | undefined {
  for (const match of line.matchAll(/"([\w-]+)"\s*:/g)) {
    const end = match.index + match[1]!.length + 2;
    if (character >= match.index && character < end) return { key: match[1]!, start: match.index, end };
  }
  return undefined;
}
