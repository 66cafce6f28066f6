import type { ConfigReader } from '../config-reader';
import { biasSwitches, everyLayer, windowsByType, type Family } from './family';

/** Which layers turn queries and keys. */
function turning(config: ConfigReader, layers: number): boolean[] {
  const listed = config.list('no_rope_layers');
  if (listed === undefined) {
    const interval = config.count('no_rope_layer_interval', 4);
    return Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0);
  }
  if (listed.length !== layers) config.refuse(`no_rope_layers names ${listed.length} layers of ${layers}`);
  return listed.map(value => value !== 0 && value !== false);
}

/** SmolLM3: no rotation in every fourth layer. In its config 1 stands for a layer that does rotate. */
export const smollm3: Family = {
  type: 'smollm3',
  keys: [
    ...['attention_bias', 'mlp_bias', 'no_rope_layers', 'no_rope_layer_interval'],
    ...['use_sliding_window', 'sliding_window', 'layer_types', 'max_window_layers'],
  ],
  kvHeadsDefault: 'null',
  qkNorm: false,
  tied: true,
  ropeTheta: 2_000_000,
  rotary: (config, layers) => turning(config, layers).map(turns => (turns ? 'standard' : 'none')),
  biases: biasSwitches,
  windows(config, layers) {
    const window = config.flag('use_sliding_window') ? config.number('sliding_window', 0) : 0;
    if (window === 0) return everyLayer(0, layers);
    return windowsByType(config, layers, window) ?? turning(config, layers).map(turns => (turns ? 0 : window));
  },
};
