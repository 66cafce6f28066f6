import { windowsByPattern, type Family } from './family';
import { gemmaBiases, gemmaStream, refuseBothDirections } from './gemma';
import { gemma2, gemmaNorms } from './gemma2';

/** Gemma 3, text: norms of queries and keys in place of soft-caps, five local layers with a base of their own to one global. */
export const gemma3: Family = {
  type: 'gemma3_text',
  keys: [...gemma2.keys, 'rope_local_base_freq', 'sliding_window_pattern', '_sliding_window_pattern'],
  kvHeadsDefault: 'never',
  headDim: 256,
  qkNorm: true,
  activation: ['hidden_activation', 'gelu_pytorch_tanh'],
  tied: true,
  ropeTheta: { full: 1_000_000, sliding: 10_000 },
  modules: gemmaNorms,
  parts(config) {
    refuseBothDirections(config);
    return {
      ...gemmaStream(config),
      normPlaces: 'both',
      attentionScale: 1 / Math.sqrt(config.number('query_pre_attn_scalar', 256)),
      attentionSoftcap: config.number('attn_logit_softcapping', 0),
      logitSoftcap: config.number('final_logit_softcapping', 0),
    };
  },
  biases: gemmaBiases,
  windows: (config, layers) =>
    windowsByPattern(
      config,
      layers,
      config.number('sliding_window', 4096),
      config.count('sliding_window_pattern', config.count('_sliding_window_pattern', 6)),
    ),
};
