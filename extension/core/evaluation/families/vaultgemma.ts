import type { Family } from './family';
import { gemma2 } from './gemma2';

/** VaultGemma: Gemma 2 with norms before its halves alone. */
export const vaultgemma: Family = {
  ...gemma2,
  type: 'vaultgemma',
  keys: gemma2.keys.filter(key => key !== 'use_bidirectional_attention'),
  modules: { post_attention_norm: 'pre_feedforward_layernorm' },
  parts: config => ({ ...gemma2.parts?.(config), normPlaces: 'before' }),
};
