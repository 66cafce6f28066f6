import type { ConfigReader } from '../config-reader';
import { noBiases, windowsByType, type Family } from './family';

const DEFAULTS = { window: 4096, maxWindowLayers: 28 };

/** Qwen2 and Qwen2.5, dense. */
export const qwen2: Family = {
  type: 'qwen2',
  keys: ['use_sliding_window', 'sliding_window', 'max_window_layers', 'layer_types'],
  neverNull: ['head_dim'],
  kvHeadsDefault: 'null',
  qkNorm: false,
  biases: () => ({ ...noBiases, attentionBias: true }),
  windows: qwenWindows,
};

/** Qwen attends within a window, if at all, in the layers that `layer_types`, or without it `max_window_layers`, say. */
export function qwenWindows(config: ConfigReader, layers: number): number[] {
  const size = config.stated('sliding_window') ? config.number('sliding_window', 0) : DEFAULTS.window;
  const window = config.flag('use_sliding_window') ? size : 0;
  const named = windowsByType(config, layers, window);
  if (named !== undefined) return named;
  const first = config.number('max_window_layers', DEFAULTS.maxWindowLayers);
  return Array.from({ length: layers }, (_, layer) => (layer >= first ? window : 0));
}
