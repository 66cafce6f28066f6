import type { ConfigReader } from '../config-reader';
import { cohere } from './cohere';
import { windowsByPattern, type Family } from './family';

const windows = (config: ConfigReader, layers: number): number[] =>
  windowsByPattern(config, layers, config.number('sliding_window', 4096), config.count('sliding_window_pattern', 4));

/** Cohere's Command R7B and A: windows in three of four layers, and those alone are rotated. */
export const cohere2: Family = {
  ...cohere,
  type: 'cohere2',
  keys: [
    ...['layer_norm_eps', 'logit_scale', 'attention_bias', 'sliding_window', 'sliding_window_pattern', 'layer_types'],
    ...['order_of_interleaved_layers', 'rotary_pct', 'position_embedding_type', 'cache_implementation'],
  ],
  ropeTheta: 10_000,
  rotary: (config, layers) => windows(config, layers).map(window => (window > 0 ? 'standard' : 'none')),
  windows,
};
